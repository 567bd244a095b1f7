"""Addresses whose last part is a secret: who knows it needs no API key, and nobody is shown it."""

from typing import Final

TECHCYTE_WEBHOOK: Final = "/techcyte/webhook/"
HIDDEN: Final = "…"


def is_secret(path: str) -> bool:
    """Return whether the path of a request ends in a secret."""
    return path.startswith(TECHCYTE_WEBHOOK)


def shown(path: str) -> str:
    """Return the path as it may stand in an answer or in the log."""
    if is_secret(path):
        return TECHCYTE_WEBHOOK + HIDDEN
    return path
