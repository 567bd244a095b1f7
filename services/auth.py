"""Checks API keys and sessions, their scopes and whose orders they see.

Where no key is configured, only loopback is served.
"""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from broker.errors import OrderError
from broker.order_store import OrderStore
from broker.order_store.errors import OrderNotFoundError
from broker.orders.fields import Priority
from broker.settings.config import LOOPBACK, ApiKey, Scope
from services.api_keys import ApiKeys
from services.requests.hosts import is_loopback
from services.session import cookie

ANYBODY = "anybody on loopback"
ALL_SCOPES: tuple[Scope, ...] = ("order", "read", "admin")
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


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request: the name of its API key, and what that key may do."""

    name: str
    max_priority: Priority = "urgent"
    max_waiting: int | None = None
    own_orders_only: bool = False
    scopes: tuple[Scope, ...] = ALL_SCOPES


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

    async def read_or_log_in(self, request: Request) -> Caller | None:
        """Return a caller that may read; None for one that sent neither a key nor a session.

        Raise `OrderError` as `read` does: a wrong key and a session that has ended are no session,
        but are not nothing either.
        """
        sent = bool(_key_of(request) or cookie.token_of(request))
        if self._keys.are_configured and not sent:
            return None
        return await self.read(request)

    async def log_in(self, request: Request) -> None:
        """Let a caller try to log in. Raise `OrderError("loopback_only")`."""
        if not self._keys.are_configured:
            _check_loopback(request)

    async def _caller(self, request: Request, scopes: set[Scope]) -> Caller:
        if not self._keys.are_configured:
            return _check_loopback(request)
        key = await self._key(request)
        if not scopes & set(key.scopes):
            raise OrderError(
                "key_refused",
                f"the key {key.name!r} has the scopes {', '.join(key.scopes)}",
                hint=f"this needs one of {', '.join(sorted(scopes))}; services.keys grants them",
            )
        order_id = request.path_params.get("order_id")
        if key.own_orders_only and order_id is not None:
            await run_in_threadpool(self._check_own, order_id, key.name)
        return Caller(key.name, key.max_priority, key.max_waiting, key.own_orders_only, key.scopes)

    async def _key(self, request: Request, *, is_use: bool = True) -> ApiKey:
        """Return the key that came along, or that of the session of a browser."""
        text = _key_of(request)
        token = cookie.token_of(request)
        if text or not token:
            return self.known_key(text)
        return await run_in_threadpool(self._key_of_session, token, is_use=is_use)

    async def has_ended(self, request: Request) -> bool:
        """Return whether the key or the session of a request that was let in is gone meanwhile.

        An answer that goes on for hours asks this. It does not count as a use of the session.
        """
        if not self._keys.are_configured:
            return False
        try:
            await self._key(request, is_use=False)
        except OrderError:
            return True
        return False

    def _key_of_session(self, token: str, *, is_use: bool) -> ApiKey:
        """Return the key of a session, without the scope `admin`. Raise `OrderError`."""
        digest = cookie.digest_of(token)
        session = self._store.find_session(digest, is_use=is_use)
        if session is not None:
            for key in self._keys.current():
                if (key.name, key.sha256) == (session.key_name, session.key_sha256):
                    return key.model_copy(update={"scopes": scopes_of_session(key.scopes)})
            self._store.end_session(digest)
        raise OrderError(
            "key_missing", "there is no such session, or it has ended", hint="log in again"
        )

    def _check_own(self, order_id: str, name: str) -> None:
        if self._store.created_by(order_id) != name:
            raise OrderNotFoundError(order_id)

    def known_key(self, key: bytes) -> ApiKey:
        """Return the settings of a key. Raise `OrderError("key_missing")`."""
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


def scopes_of_session(scopes: Iterable[Scope]) -> tuple[Scope, ...]:
    """Return what a browser may do that logged in with a key of these scopes.

    Never `admin`: a page that was broken into may order and read, as that key could, and no more.
    """
    allowed = set(scopes)
    if "admin" in allowed:
        allowed |= {"order", "read"}
    return tuple(scope for scope in ALL_SCOPES if scope in allowed and scope != "admin")


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
