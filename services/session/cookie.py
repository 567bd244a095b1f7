"""The cookie of a session: its name, its attributes, and the token in it.

Over https its name begins with `__Host-`: browsers then take it from this host alone, over https
alone. On the machine itself pages may come over plain http; the name is another one there.
"""

import hashlib
import secrets
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, cookie_parser
from starlette.responses import Response

from broker.order_store.live.sessions import LIFE_S
from services.requests.hosts import is_loopback

SECURE_NAME: Final = "__Host-slidelane"
LOOPBACK_NAME: Final = "slidelane"
_TOKEN_BYTES: Final = 32
_LONGEST_TOKEN: Final = 64


def new_token() -> str:
    """Return a token of 256 random bits."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def digest_of(token: str) -> str:
    """Return the SHA-256 of a token in hex, which is all that is stored of it."""
    return hashlib.sha256(token.encode()).hexdigest()


def name_for(connection: HTTPConnection) -> str | None:
    """Return the name of the cookie on this connection; None where there may be none.

    That is plain http from another machine: whoever listens on the way could take the session.
    """
    if is_https(connection):
        return SECURE_NAME
    if is_loopback(connection.headers.get("host", "")):
        return LOOPBACK_NAME
    return None


def is_https(connection: HTTPConnection) -> bool:
    """Return whether the browser came by https: to this process, or to the proxy in front of it."""
    forwarded = connection.headers.get("x-forwarded-proto")
    if forwarded is not None:
        # Of several proxies the first is the one that the browser came to.
        return forwarded.partition(",")[0].strip().lower() == "https"
    return str(connection.scope["scheme"]) == "https"


def token_of(connection: HTTPConnection) -> str:
    """Return the token that came along, or nothing."""
    name = name_for(connection)
    if name is None:
        return ""
    token = _cookies(connection.headers).get(name, "")
    if len(token) > _LONGEST_TOKEN:
        return ""
    return token


def is_given(headers: Headers) -> bool:
    """Return whether a cookie of ours came along, of whatever name and worth."""
    cookies = _cookies(headers)
    return SECURE_NAME in cookies or LOOPBACK_NAME in cookies


def give(response: Response, name: str, token: str) -> None:
    """Let the browser keep the token, unseen by scripts, and send it to pages of ours alone."""
    response.set_cookie(
        name,
        token,
        max_age=LIFE_S,
        path="/",
        secure=name == SECURE_NAME,
        httponly=True,
        samesite="strict",
    )


def take_back(response: Response, name: str) -> None:
    """Let the browser forget the token."""
    response.delete_cookie(
        name, path="/", secure=name == SECURE_NAME, httponly=True, samesite="strict"
    )


def _cookies(headers: Headers) -> dict[str, str]:
    found: dict[str, str] = {}
    for value in headers.getlist("cookie"):
        found |= cookie_parser(value)
    return found
