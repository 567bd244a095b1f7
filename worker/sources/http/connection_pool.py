"""The connections of one transfer: one at first, more where the server lets them in, and none left at its end.

Must not know where the bytes go.
"""

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Final

import requests

from worker.sources.http.blocks import Blocks
from worker.sources.http.connection import Stream

_POLL_S: Final = 0.05


class Transfer:
    """At most `most` streams, each made by `new`: a second to see whether the server gives ranges, then the others."""

    def __init__(self, new: Callable[[], Stream], most: int, blocks: Blocks) -> None:
        self._new, self._most, self._blocks = new, most, blocks
        self._streams: list[Stream] = []
        self._running: set[Future[str]] = set()

    def run(self, answer: requests.Response, look: Callable[[], bool]) -> str:
        """Bring all that is left, first from `answer`, which begins at the blocks' front; say why it ended early.

        `look` is called many times a second and says whether it has more to do at once. What it raises, or a stream
        does, ends the transfer. All streams have ended when this returns or raises.
        """
        with ThreadPoolExecutor(self._most, "download") as pool:
            try:
                first = self._start(pool, answer)
                while self._running and not self._blocks.whole:
                    self._settle(0.0 if look() else _POLL_S)
                    self._start_more(pool)
            finally:
                for stream in self._streams:
                    stream.end()
        return first.result() or "ended before all was here"

    def _start(
        self, pool: ThreadPoolExecutor, answer: requests.Response | None = None
    ) -> Future[str]:
        stream = self._new()
        self._streams.append(stream)
        job = pool.submit(stream.run, answer, self._blocks.front)
        self._running.add(job)
        return job

    def _start_more(self, pool: ThreadPoolExecutor) -> None:
        welcome = any(stream.welcome for stream in self._streams[1:])
        while len(self._streams) < (self._most if welcome else min(self._most, 2)):
            self._start(pool)

    def _settle(self, pause_s: float) -> None:
        """Wait for a stream to end, and end those that stick."""
        done, self._running = wait(self._running, pause_s, FIRST_COMPLETED)
        for job in done:
            job.result()
        for stream in self._streams:
            stream.keep_pace(time.monotonic())
