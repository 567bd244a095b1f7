"""The slides that are open: a bounded number, the one that was looked at longest ago goes first.

All of it runs in one event loop; what waits for a disk or a decoder runs in threads.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Final

from broker.errors import OrderError, SlidelaneError, TemporaryError
from worker.slide_cache.local_slide import LocalSlide
from worker.viewer.iiif import ImageRequest
from worker.viewer.slides.viewed_slide import SlideOpener, ViewedSlide

_FAILED_AGAIN_S: Final = 10.0
"""A slide that could not be opened is not tried again for so long."""
_MOST_FAILURES: Final = 1000
_ROOM_WITHIN_S: Final = 30.0
_LARGE_PX: Final = 2**21
_LARGE_AT_ONCE: Final = 4
"""Pictures of more than `_LARGE_PX` pixels that are made at a time, of up to 50 MB each."""
_log = logging.getLogger(__name__)


class OpenSlide:
    """A slide that is open, or about to be. It stays open while it has users."""

    def __init__(
        self,
        opening: asyncio.Future[ViewedSlide],
        threads: int,
        pool: ThreadPoolExecutor,
        large: asyncio.Semaphore,
    ) -> None:
        self.opening = opening
        self.users = 0
        self.used_at = time.monotonic()
        self.is_dropped = False
        self._pool = pool
        self._turns = asyncio.Semaphore(threads)
        self._large = large
        self._overview: asyncio.Task[None] | None = None

    @property
    def viewed(self) -> ViewedSlide:
        """Return the slide. Raise what opening it raised."""
        return self.opening.result()

    @asynccontextmanager
    async def turn(self, request: ImageRequest) -> AsyncIterator[None]:
        """Wait until the picture can be made: for a thread, and for the overview it is cut from."""
        if self._overview is not None and self.viewed.is_cut_from_overview(request):
            await asyncio.shield(self._overview)
        if request.width_px * request.height_px > _LARGE_PX:
            async with self._large, self._turns:
                yield
        else:
            async with self._turns:
                yield

    async def jpeg(self, request: ImageRequest) -> bytes:
        """Return the picture as JPEG. Raise `OrderError`, `TemporaryError`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self.viewed.jpeg, request)

    async def associated_jpeg(self, name: str) -> bytes:
        """Return the label, macro image or thumbnail. Raise `OrderError`, `TemporaryError`."""
        loop = asyncio.get_running_loop()
        async with self._turns:
            return await loop.run_in_executor(self._pool, self.viewed.associated_jpeg, name)

    async def opened(self) -> None:
        """Wait until the slide is open, and begin to read its overview where it needs one.

        Raise `OrderError`, `TemporaryError`.
        """
        await asyncio.shield(self.opening)
        if self._overview is None and self.viewed.lacks_coarse_levels:
            self._overview = asyncio.create_task(self._read_overview())
            # Whoever needs it is told; where nobody does, it is no error that it failed.
            self._overview.add_done_callback(_retrieve)

    async def _read_overview(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._pool, self.viewed.read_overview)


class OpenSlides:
    """Opens slides and keeps at most `most` of them open.

    `threads`: how many pictures of one slide are made at a time.
    """

    def __init__(self, opener: SlideOpener, most: int, threads: int) -> None:
        self._opener = opener
        self._most = most
        self._threads = threads
        # Beside the pictures, every slide may be opening or closing, or read its overview.
        self._pool = ThreadPoolExecutor(most * (threads + 2), thread_name_prefix="slide")
        self._open: dict[str, OpenSlide] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._failures: dict[str, tuple[float, SlidelaneError]] = {}
        self._changed = asyncio.Event()
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)

    @property
    def digests(self) -> list[str]:
        """Return which slides are open or about to be."""
        return list(self._open)

    @asynccontextmanager
    async def use(self, slide: LocalSlide) -> AsyncIterator[OpenSlide]:
        """Open the slide unless it is open, and keep it open while the context lasts.

        Raise `OrderError` and `TemporaryError`: what opening it raises, and `viewer_busy` where
        all slides that are open stay in use.
        """
        opened = await self._find_or_open(slide)
        try:
            await self._wait_until_open(slide.digest, opened)
            yield opened
        finally:
            opened.users -= 1
            opened.used_at = time.monotonic()
            if _has_failed(opened):
                self._drop(slide.digest, opened)
            if opened.is_dropped and not opened.users:
                self._close(opened)
            self._tell_change()

    async def close_idle(self, idle_s: float) -> None:
        """Close the slides that nobody looked at for `idle_s`, until this task is cancelled."""
        while True:
            await asyncio.sleep(min(idle_s / 4, 10))
            for digest, opened in list(self._open.items()):
                if not opened.users and time.monotonic() - opened.used_at >= idle_s:
                    self._drop(digest, opened)
                    self._close(opened)

    async def close(self) -> None:
        """Close all slides; what reads one fails."""
        for digest, opened in list(self._open.items()):
            self._drop(digest, opened)
            self._close(opened)
        while self._closing:
            await asyncio.wait(self._closing)
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _find_or_open(self, slide: LocalSlide) -> OpenSlide:
        """Return the slide with one user more."""
        deadline = time.monotonic() + _ROOM_WITHIN_S
        while True:
            opened = self._open.get(slide.digest)
            if opened is None and len(self._open) + len(self._closing) < self._most:
                opened = self._start_opening(slide)
            if opened is not None:
                opened.users += 1
                return opened
            if not self._closing:
                self._drop_oldest()
            await self._wait_for_change(deadline)

    def _start_opening(self, slide: LocalSlide) -> OpenSlide:
        self._raise_known_failure(slide.digest)
        loop = asyncio.get_running_loop()
        opening = loop.run_in_executor(self._pool, self._opener.open, slide)
        opening.add_done_callback(_retrieve)
        opened = OpenSlide(opening, self._threads, self._pool, self._large)
        self._open[slide.digest] = opened
        return opened

    async def _wait_until_open(self, digest: str, opened: OpenSlide) -> None:
        try:
            await opened.opened()
        except OrderError as error:
            if len(self._failures) >= _MOST_FAILURES:
                self._failures.clear()
            self._failures[digest] = (time.monotonic() + _FAILED_AGAIN_S, error)
            raise

    def _raise_known_failure(self, digest: str) -> None:
        until, error = self._failures.get(digest, (0.0, None))
        if error is None:
            return
        if time.monotonic() < until:
            raise OrderError(error.code, error.detail, hint=error.hint, field=error.field)
        del self._failures[digest]

    def _drop_oldest(self) -> None:
        """Begin to close the slide that was looked at longest ago, unless all are in use."""
        unused = {digest: opened for digest, opened in self._open.items() if not opened.users}
        if unused:
            digest = min(unused, key=lambda each: unused[each].used_at)
            self._drop(digest, unused[digest])
            self._close(unused[digest])

    def _drop(self, digest: str, opened: OpenSlide) -> None:
        """Let the next user open the slide anew."""
        opened.is_dropped = True
        if self._open.get(digest) is opened:
            del self._open[digest]

    def _close(self, opened: OpenSlide) -> None:
        """End the slide's process, in a task of its own."""
        closing = asyncio.create_task(self._close_in_thread(opened))
        self._closing.add(closing)
        closing.add_done_callback(self._closed)

    async def _close_in_thread(self, opened: OpenSlide) -> None:
        with suppress(Exception):  # who asked for the slide was told
            viewed = await opened.opening
            await asyncio.get_running_loop().run_in_executor(self._pool, viewed.close)

    def _closed(self, closing: asyncio.Task[None]) -> None:
        self._closing.discard(closing)
        self._tell_change()

    async def _wait_for_change(self, deadline: float) -> None:
        """Wait until a slide was closed or lost a user."""
        try:
            await asyncio.wait_for(self._changed.wait(), deadline - time.monotonic())
        except TimeoutError:
            raise TemporaryError(
                "viewer_busy",
                f"{self._most} slides are open, and somebody reads each of them",
                hint="the operator sets worker.viewer.open_slides",
            ) from None

    def _tell_change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _has_failed(opened: OpenSlide) -> bool:
    if not opened.opening.done():
        return False
    if opened.opening.cancelled() or opened.opening.exception() is not None:
        return True
    return opened.viewed.is_broken


def _retrieve(task: asyncio.Future[ViewedSlide] | asyncio.Future[None]) -> None:
    """Take a task's error, so that asyncio does not log it as one that nobody saw."""
    if not task.cancelled():
        task.exception()
