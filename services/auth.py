"""Checks API keys, their scopes and whose orders they see.

Where no key is configured, only loopback is served.
"""

import hashlib
import hmac
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from broker.errors import OrderError
from broker.order_store import OrderStore
from broker.order_store.errors import OrderNotFoundError
from broker.orders.fields import Priority
from broker.settings.config import LOOPBACK, ApiKey, Scope
from services.api_keys import ApiKeys

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


def is_loopback(netloc: str) -> bool:
    """Return whether a Host header names this machine."""
    try:
        return urlsplit(f"//{netloc}").hostname in LOOPBACK
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request: the name of its API key, and what that key may do."""

    name: str
    max_priority: Priority = "urgent"
    max_waiting: int | None = None
    own_orders_only: bool = False


class ApiKeyAuth:
    """Checks the caller. Its methods are FastAPI dependencies that return the caller.

    On a path with an order's id, the order of another caller is not found by a key that sees its
    own orders only.
    """

    def __init__(self, keys: ApiKeys, store: OrderStore) -> None:
        self._keys = keys
        self._store = store

    async def order(self, request: Request) -> Caller:
        """Return a caller that may place orders.

        Raise `OrderError`: `key_missing`, `key_refused`, `loopback_only` or `not_found`.
        """
        return await self._caller(request, {"order", "admin"})

    async def read(self, request: Request) -> Caller:
        """Return a caller that may read.

        Raise `OrderError`: `key_missing`, `key_refused`, `loopback_only` or `not_found`.
        """
        return await self._caller(request, {"read", "order", "admin"})

    async def _caller(self, request: Request, scopes: set[Scope]) -> Caller:
        if not self._keys.are_configured:
            return _check_loopback(request)
        key = self._configured_key(_key_of(request))
        if not scopes & set(key.scopes):
            raise OrderError(
                "key_refused",
                f"the key {key.name!r} has the scopes {', '.join(key.scopes)}",
                hint=f"this needs one of {', '.join(sorted(scopes))}; services.keys grants them",
            )
        order_id = request.path_params.get("order_id")
        if key.own_orders_only and order_id is not None:
            await run_in_threadpool(self._check_own, order_id, key.name)
        return Caller(key.name, key.max_priority, key.max_waiting, key.own_orders_only)

    def _check_own(self, order_id: str, name: str) -> None:
        if self._store.created_by(order_id) != name:
            raise OrderNotFoundError(order_id)

    def _configured_key(self, key: bytes) -> ApiKey:
        if not key:
            raise OrderError(
                "key_missing",
                "no API key came along",
                hint="send Authorization: Bearer KEY, or X-API-Key: KEY",
            )
        digest = hashlib.sha256(key).hexdigest()
        # Every key is compared, so that the time taken does not depend on which one matches.
        matching = [
            known for known in self._keys.current() if hmac.compare_digest(known.sha256, digest)
        ]
        if not matching:
            raise OrderError(
                "key_missing",
                "the API key is not known here",
                hint="services.keys and services.keys_file list the keys by their SHA-256",
            )
        return matching[0]


def _check_loopback(request: Request) -> Caller:
    # A web page can let its own host name resolve to 127.0.0.1 (DNS rebinding).
    # Only the Host header shows that.
    host = request.headers.get("host", "")
    if not is_loopback(host):
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
    return Caller(ANYBODY)
