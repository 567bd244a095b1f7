"""A stream of events (Server-Sent Events) that goes on after a cut where it was.

Its events come from the feed of changes; what happened while the caller was away is read from
there before.
"""

import json
import re
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send

from broker.errors import TemporaryError
from broker.order_store import OrderStore
from services.auth import ApiKeyAuth
from services.live.events import OrderEvent
from services.live.feed import ChangeFeed, Follower

RETRY_MS: Final = 2000
"""How long a browser waits before it connects again."""
HEARTBEAT_S: Final = 15
"""How often something is sent where nothing happens, so that no proxy takes the stream for dead."""
CHECK_S: Final = 5.0
"""How often it is looked whether the key or the session is still there."""
_AT_A_TIME: Final = 500
_POSITION: Final = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")


class _Event(ServerSentEvent):
    """An event whose lines end as everywhere else in our answers."""

    DEFAULT_SEPARATOR = "\n"


class EventStream:
    """One answer of `GET /v1/events`."""

    def __init__(
        self,
        request: Request,
        auth: ApiKeyAuth,
        store: OrderStore,
        feed: ChangeFeed,
        follower: Follower,
    ) -> None:
        """`follower` follows the feed already."""
        self._request = request
        self._auth = auth
        self._store = store
        self._feed = feed
        self._follower = follower
        self._checked_at = time.monotonic()

    def response(self, last: str | None) -> EventSourceResponse:
        """Return the answer: what came after the event `last`, then what comes."""
        return _FollowedResponse(
            self._feed,
            self._follower,
            self._events(last),
            ping=HEARTBEAT_S,
            ping_message_factory=_heartbeat,
        )

    async def _events(self, last: str | None) -> AsyncIterator[ServerSentEvent]:
        async for event in self._missed(last):
            yield event
        async for event in self._live():
            yield event

    async def _missed(self, last: str | None) -> AsyncIterator[ServerSentEvent]:
        """Yield where the stream begins, and what happened between there and now."""
        start = self._follower.start
        if last is None:
            yield _mark(start)
            return
        is_known = _POSITION.fullmatch(last) is not None
        if is_known:
            is_known = await run_in_threadpool(self._store.knows_change, last)
        if not is_known:
            yield _Event("{}", event="reset", id=start, retry=RETRY_MS)
            return
        yield _mark(last)
        while True:
            changes = await run_in_threadpool(self._store.changes_between, last, start, _AT_A_TIME)
            if not changes:
                return
            events = await run_in_threadpool(self._feed.events_for, self._follower, changes)
            for event in events:
                yield _sent(event)
            last = changes[-1].id

    async def _live(self) -> AsyncIterator[ServerSentEvent]:
        """Yield what happens, until the caller or the service ends, or the key is gone."""
        while True:
            for event in await self._follower.next(CHECK_S):
                yield _sent(event)
            if self._follower.is_over or await self._is_shut_out():
                yield _Event("{}", event="bye")
                return
            if self._follower.is_cut:
                return

    async def _is_shut_out(self) -> bool:
        now = time.monotonic()
        if now - self._checked_at < CHECK_S:
            return False
        self._checked_at = now
        try:
            return await self._auth.has_ended(self._request)
        except TemporaryError:
            return False  # Redis is away, and nothing comes either


class _FollowedResponse(EventSourceResponse):
    """A stream whose follower leaves the feed with it, also where it never began."""

    def __init__(
        self,
        feed: ChangeFeed,
        follower: Follower,
        events: AsyncIterator[ServerSentEvent],
        **options: Any,
    ) -> None:
        super().__init__(events, **options)
        self._feed = feed
        self._follower = follower

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI call."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._feed.leave(self._follower)


def wanted_orders(text: str) -> Sequence[str] | None:
    """Return the ids in `orders`, None for `all`; an empty list for what is neither."""
    if text == "all":
        return None
    ids = text.split(",")
    if all(re.fullmatch(r"[0-9a-z]{1,64}", one) for one in ids):
        return list(dict.fromkeys(ids))
    return []


def _mark(position: str) -> ServerSentEvent:
    """Return no event, but the position that a browser sends when it connects again."""
    return _Event(id=position, retry=RETRY_MS)


def _sent(event: OrderEvent) -> ServerSentEvent:
    data = json.dumps(event.data, ensure_ascii=False, separators=(",", ":"))
    return _Event(data, event=event.name, id=event.id)


def _heartbeat() -> ServerSentEvent:
    return _Event(comment="still here")
