"""One reader of the feed of changes for the whole process, and all who follow it.

However many streams are open and requests wait, Redis is asked by one thread, which ends with the
last of them; each change is made into an event once. Whoever follows lives in an event loop and
costs no thread.
"""

import asyncio
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Final

from broker.errors import OrderError, TemporaryError
from broker.order_store import Change, OrderStore
from services.live.events import OrderEvent, events_of, plain_events_of

MOST_UNREAD: Final = 2000
"""Events that wait for one follower. One that is slower is cut off, and may go on from its last."""
_READ_WAIT_S: Final = 1.0
_PAUSE_S: Final = 0.5
_MOST_CREATORS: Final = 10_000
_log = logging.getLogger(__name__)


class Follower:
    """The events of some orders, for one task of one event loop.

    `start` is the position after which the first event comes. `is_cut`: no more come, and some may
    have been left out. `is_over`: no more come, because the service stops.
    """

    def __init__(
        self, orders: Collection[str] | None, *, creator: str | None = None, with_views: bool = True
    ) -> None:
        """Follow these orders, None = all; with `creator` only those that it placed.

        Without `with_views` events hold nothing but states. Call it in the event loop.
        """
        self.start = ""
        self.is_cut = False
        self.is_over = False
        self.orders = orders
        self.creator = creator
        self.with_views = with_views
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._unread: deque[OrderEvent] = deque()

    async def next(self, within_s: float) -> Sequence[OrderEvent]:
        """Return what has come, oldest first; nothing where nothing comes in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._news.wait()
        if not self.is_cut and not self.is_over:
            self._news.clear()
        events = tuple(self._unread)
        self._unread.clear()
        return events

    def wants(self, order_id: str, creators: Mapping[str, str]) -> bool:
        """Return whether it follows the order. `creators`: who placed it, where somebody asks."""
        if self.orders is not None and order_id not in self.orders:
            return False
        return self.creator is None or creators.get(order_id) == self.creator

    def offer(self, events: Sequence[OrderEvent]) -> bool:
        """Take events from the reader's thread. Return False where the event loop has ended."""
        try:
            self._loop.call_soon_threadsafe(self._take, events)
        except RuntimeError:
            return False
        return True

    def cut(self) -> None:
        """Tell from the reader's thread that no more events come."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._cut)

    def stop(self) -> None:
        """Tell from another thread that the service stops."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stop)

    def _take(self, events: Sequence[OrderEvent]) -> None:
        if len(self._unread) + len(events) > MOST_UNREAD:
            self._cut()
        if not self.is_cut:
            self._unread.extend(events)
        self._news.set()

    def _cut(self) -> None:
        self.is_cut = True
        self._news.set()

    def _stop(self) -> None:
        self.is_over = True
        self._news.set()


class ChangeFeed:
    """The reader of the feed. Threads share it."""

    def __init__(self, store: OrderStore, most_followers: int) -> None:
        """Read nothing before somebody follows."""
        self._store = store
        self._most_followers = most_followers
        self._lock = threading.Lock()
        self._followers: set[Follower] = set()
        self._thread: threading.Thread | None = None
        self._position = ""
        self._is_over = False
        self._creators: OrderedDict[str, str] = OrderedDict()

    def follow(self, follower: Follower) -> None:
        """Give the follower all events from now on. Raise `TemporaryError`.

        `too_many_connections` where as many follow as may; `store_unreachable`.
        """
        with self._lock:
            if len(self._followers) >= self._most_followers:
                raise TemporaryError(
                    "too_many_connections",
                    f"{self._most_followers} streams and waiting requests are open",
                    hint="close streams that nobody looks at, or ask for the order now and then",
                )
            if self._thread is None:
                self._position = self._store.last_change()
                self._thread = threading.Thread(target=self._read, name="changes", daemon=True)
                self._thread.start()
            follower.start = self._position
            self._followers.add(follower)
            if self._is_over:
                follower.stop()

    def leave(self, follower: Follower) -> None:
        """Give the follower nothing more."""
        with self._lock:
            self._followers.discard(follower)

    def stop(self) -> None:
        """End what all followers do, because the service stops."""
        with self._lock:
            self._is_over = True
            for follower in self._followers:
                follower.stop()

    def events_for(self, follower: Follower, changes: Sequence[Change]) -> list[OrderEvent]:
        """Return the events of those changes that the follower wants. Raise `TemporaryError`."""
        creators = self._creators_of(changes, [follower])
        wanted = [one for one in changes if follower.wants(one.order_id, creators)]
        return events_of(self._store, wanted)

    def _read(self) -> None:
        try:
            while self._is_followed():
                self._read_on()
        except Exception:  # noqa: BLE001 - nobody else would log it, or end who waits
            _log.exception("the feed of changes is not read on; who follows begins again")
            with self._lock:
                self._thread = None
                for follower in self._followers:
                    follower.cut()
                self._followers.clear()

    def _is_followed(self) -> bool:
        """Return whether somebody follows; else let the next follower start a new thread."""
        with self._lock:
            if self._followers:
                return True
            self._thread = None
            return False

    def _read_on(self) -> None:
        try:
            changes = self._store.next_changes(self._position, _READ_WAIT_S)
        except TemporaryError:
            time.sleep(_PAUSE_S)
            return
        if not changes:
            return
        with self._lock:
            # Whoever follows from now on begins after these changes.
            self._position = changes[-1].id
            followers = set(self._followers)
        while followers:
            try:
                self._tell(changes, followers)
            except TemporaryError:
                time.sleep(_PAUSE_S)
            else:
                return

    def _tell(self, changes: Sequence[Change], followers: Collection[Follower]) -> None:
        """Give each follower its events. Raise `TemporaryError` before the first got any."""
        creators = self._creators_of(changes, followers)
        viewers = [one for one in followers if one.with_views]
        seen = [
            change
            for change in changes
            if any(viewer.wants(change.order_id, creators) for viewer in viewers)
        ]
        viewed = events_of(self._store, seen)
        plain = plain_events_of(changes)
        for follower in followers:
            events = plain
            if follower.with_views:
                events = viewed
            wanted = [one for one in events if follower.wants(one.order_id, creators)]
            if wanted and not follower.offer(wanted):
                self.leave(follower)

    def _creators_of(
        self, changes: Sequence[Change], followers: Collection[Follower]
    ) -> Mapping[str, str]:
        """Return who placed each order, where a follower sees the orders of one creator only."""
        if all(follower.creator is None for follower in followers):
            return {}
        creators = {}
        for order_id in {change.order_id for change in changes}:
            creators[order_id] = self._creator(order_id)
        for change in changes:
            if change.created_by:
                creators[change.order_id] = change.created_by
        return creators

    def _creator(self, order_id: str) -> str:
        known = self._creators.get(order_id)
        if known is not None:
            return known
        try:
            creator = self._store.created_by(order_id)
        except OrderError:
            return ""  # it is deleted; nobody is called that, and the change itself says who
        with self._lock:
            self._creators[order_id] = creator
            while len(self._creators) > _MOST_CREATORS:
                self._creators.popitem(last=False)
        return creator
