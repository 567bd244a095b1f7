"""Who may: API keys and their scopes or, without any key, loopback alone. Knows no order."""

import hashlib
import hmac
from collections.abc import Sequence
from urllib.parse import urlsplit

from fastapi import Request

from broker.errors import OrderError
from broker.settings.config import LOOPBACK, ApiKey, Scope

ANYBODY = "anybody on loopback"


def _given(request: Request) -> bytes:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        key = request.headers.get("x-api-key", "")
    return key.strip().encode("latin-1")  # how the header's bytes became text


def _is_loopback(netloc: str) -> bool:
    try:
        return urlsplit(f"//{netloc}").hostname in LOOPBACK
    except ValueError:
        return False


class Gate:
    """Lets requests through. Its methods are FastAPI dependencies that answer the caller's name."""

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self._keys = tuple(keys)

    async def order(self, request: Request) -> str:
        """The caller, who may place orders. Raises `OrderError("key_missing")` or `("key_refused")`."""
        return self._caller(request, {"order", "admin"})

    async def read(self, request: Request) -> str:
        """The caller, who may read. Raises `OrderError("key_missing")` or `("key_refused")`."""
        return self._caller(request, {"read", "order", "admin"})

    def _caller(self, request: Request, scopes: set[Scope]) -> str:
        if not self._keys:
            return _on_loopback(request)
        key = self._known(_given(request))
        if not scopes & set(key.scopes):
            raise OrderError(
                "key_refused",
                f"the key {key.name!r} has the scopes {', '.join(key.scopes)}",
                hint=f"this needs one of {', '.join(sorted(scopes))}; services.keys grants them",
            )
        return key.name

    def _known(self, given: bytes) -> ApiKey:
        if not given:
            raise OrderError(
                "key_missing",
                "no API key came along",
                hint="send Authorization: Bearer KEY, or X-API-Key: KEY",
            )
        digest = hashlib.sha256(given).hexdigest()
        # All are compared, so that the time taken tells nothing about which one came near.
        matching = [key for key in self._keys if hmac.compare_digest(key.sha256, digest)]
        if not matching:
            raise OrderError(
                "key_missing",
                "the API key is not known here",
                hint="services.keys lists the keys by their SHA-256",
            )
        return matching[0]


def _on_loopback(request: Request) -> str:
    # A page elsewhere can point its own name at 127.0.0.1 (DNS rebinding); only the Host header gives it away.
    host = request.headers.get("host", "")
    if not _is_loopback(host):
        raise OrderError(
            "loopback_only",
            f"without services.keys only loopback is served; this request names the host {host[:100]!r}",
            hint="ask 127.0.0.1, or configure services.keys",
        )
    if request.client is None or request.client.host not in LOOPBACK:
        raise OrderError(
            "loopback_only",
            "without services.keys only callers on this machine are served",
            hint="configure services.keys",
        )
    return ANYBODY
