"""Addresses whose last part is a secret: who knows it needs no API key, and nobody is shown it."""

import re
from typing import Final

TECHCYTE_WEBHOOK: Final = "/techcyte/webhook/"
HIDDEN: Final = "…"
_TOKEN_OF_SLIDE: Final = re.compile(r"(/iiif/~)[^/]*")
"""A link to a slide has its token in the path; see `services.slides.links`."""


def is_secret(path: str) -> bool:
    """Return whether the path of a request ends in a secret."""
    return path.startswith(TECHCYTE_WEBHOOK)


def shown(path: str) -> str:
    """Return the path as it may stand in an answer or in the log."""
    if is_secret(path):
        return TECHCYTE_WEBHOOK + HIDDEN
    return _TOKEN_OF_SLIDE.sub(rf"\1{HIDDEN}", path)
