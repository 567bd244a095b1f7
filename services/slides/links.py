"""Links that open one slide for whoever has them, for an hour.

Other IIIF viewers send no API key. A link's token is an HMAC over the slide's id and the moment
that it expires; nothing is stored, and the token opens nothing else. IIIF viewers make addresses
of tiles by adding to the image's base URI, so the base URI of a link holds the token.
"""

import base64
import hashlib
import hmac
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from pydantic import BaseModel, Field

from broker.errors import OrderError
from broker.order_store import OrderStore

LIFE_S: Final = 3600
MARK: Final = "~"
"""Stands before the token in the path of an address."""
CORS: Final = {
    "access-control-allow-origin": "*",
    "cross-origin-resource-policy": "cross-origin",
}
"""Pages of other sites may show what a link opens, and nothing else."""
_TOKEN: Final = re.compile(r"[0-9]{1,12}\.[A-Za-z0-9_-]{43}")
_PURPOSE: Final = b"slidelane: links to slides, 1"


class LinkView(BaseModel):
    """A link that opens the pixels of one slide for whoever has it."""

    url: str = Field(description="of the info.json, to be given to an IIIF viewer")
    token: str = Field(description="opens any address below `iiif` of the slide, as `?token=`")
    expires_at: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of an image: what follows its base URI, and the token that came with it."""

    rest: str
    token: str | None


def new_link(slide_id: str, base: str, key: bytes) -> LinkView:
    """Return a new link to the slide whose image has the base URI `base`."""
    expires_at = int(time.time()) + LIFE_S
    token = token_of(slide_id, expires_at, key)
    when = datetime.fromtimestamp(expires_at, UTC).isoformat().replace("+00:00", "Z")
    return LinkView(url=f"{base}/info.json?token={token}", token=token, expires_at=when)


def asked_with(rest: str, token: str | None) -> Asked:
    """Return what is asked and with which token: that of the path, or that of the query."""
    if not rest.startswith(MARK):
        return Asked(rest, token)
    in_path, _, further = rest.removeprefix(MARK).partition("/")
    return Asked(further, in_path)


def token_of(slide_id: str, expires_at: int, key: bytes) -> str:
    """Return the token that opens the slide until `expires_at`, in seconds since 1970."""
    derived = hmac.digest(key, _PURPOSE, hashlib.sha256)
    signature = hmac.digest(derived, f"{slide_id}\n{expires_at}".encode(), hashlib.sha256)
    return f"{expires_at}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def check(store: OrderStore, slide_id: str, token: str) -> None:
    """Raise `OrderError("key_refused")` unless the token opens the slide now."""
    is_right = False
    if _TOKEN.fullmatch(token):
        expires_at = int(token.partition(".")[0])
        right = token_of(slide_id, expires_at, store.viewed_slides.signing_key())
        is_right = hmac.compare_digest(right, token) and time.time() < expires_at
    if not is_right:
        raise OrderError(
            "key_refused",
            "the link does not open this slide, or it has expired",
            hint="POST /v1/slides/{id}/link makes another one; it lasts an hour",
        )
