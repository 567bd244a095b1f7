"""Checks API keys and their scopes. Where no key is configured, only loopback is served."""

import hashlib
import hmac
from collections.abc import Sequence
from urllib.parse import urlsplit

from fastapi import Request

from broker.errors import OrderError
from broker.settings.config import LOOPBACK, ApiKey, Scope

ANYBODY = "anybody on loopback"
PROXY_HEADERS = (
    "Forwarded",
    "Via",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Real-IP",
)
"""What a proxy adds, whose caller may be anywhere."""


def _key_of(request: Request) -> bytes:
    """Return the key that the request carries, or nothing."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        key = request.headers.get("x-api-key", "")
    # Starlette decodes headers as Latin-1.
    return key.strip().encode("latin-1")


def _is_loopback(netloc: str) -> bool:
    try:
        return urlsplit(f"//{netloc}").hostname in LOOPBACK
    except ValueError:
        return False


class ApiKeyAuth:
    """Checks the caller. Its methods are FastAPI dependencies that return the caller's name."""

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self._keys = tuple(keys)

    async def order(self, request: Request) -> str:
        """Return the name of a caller that may place orders.

        Raise `OrderError`: `key_missing`, `key_refused` or `loopback_only`.
        """
        return self._caller(request, {"order", "admin"})

    async def read(self, request: Request) -> str:
        """Return the name of a caller that may read.

        Raise `OrderError`: `key_missing`, `key_refused` or `loopback_only`.
        """
        return self._caller(request, {"read", "order", "admin"})

    def _caller(self, request: Request, scopes: set[Scope]) -> str:
        if not self._keys:
            return _check_loopback(request)
        key = self._configured_key(_key_of(request))
        if not scopes & set(key.scopes):
            raise OrderError(
                "key_refused",
                f"the key {key.name!r} has the scopes {', '.join(key.scopes)}",
                hint=f"this needs one of {', '.join(sorted(scopes))}; services.keys grants them",
            )
        return key.name

    def _configured_key(self, key: bytes) -> ApiKey:
        if not key:
            raise OrderError(
                "key_missing",
                "no API key came along",
                hint="send Authorization: Bearer KEY, or X-API-Key: KEY",
            )
        digest = hashlib.sha256(key).hexdigest()
        # Every key is compared, so that the time taken does not depend on which one matches.
        matching = [known for known in self._keys if hmac.compare_digest(known.sha256, digest)]
        if not matching:
            raise OrderError(
                "key_missing",
                "the API key is not known here",
                hint="services.keys lists the keys by their SHA-256",
            )
        return matching[0]


def _check_loopback(request: Request) -> str:
    # A web page can let its own host name resolve to 127.0.0.1 (DNS rebinding).
    # Only the Host header shows that.
    host = request.headers.get("host", "")
    if not _is_loopback(host):
        raise OrderError(
            "loopback_only",
            "without services.keys only loopback is served; "
            f"this request names the host {host[:100]!r}",
            hint="ask 127.0.0.1, or configure services.keys",
        )
    for name in PROXY_HEADERS:
        if name in request.headers:
            raise OrderError(
                "loopback_only",
                "without services.keys only callers on this machine are served; "
                f"this request came through a proxy, as its header {name} says",
                hint="configure services.keys",
            )
    if request.client is None or request.client.host not in LOOPBACK:
        raise OrderError(
            "loopback_only",
            "without services.keys only callers on this machine are served",
            hint="configure services.keys",
        )
    return ANYBODY
