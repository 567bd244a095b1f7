"""One connection's share of a download: block after block, each answer checked to be the part that was asked for.

Must not know how many connections there are.
"""

import time
from contextlib import suppress
from threading import Event
from typing import Final

import requests
from urllib3.exceptions import HTTPError

from broker.errors import OrderError
from worker.slide_cache.partial_file import PartialFile
from worker.sources.http.blocks import Block, Blocks
from worker.sources.http.remote_file import (
    ConnectionLost,
    ContentChanged,
    RemoteFile,
    Version,
    stretch,
)

_READ_BYTES: Final = 2**18
_BARREN_BYTES: Final = 2**16  # what brings less is not tried again beside other connections
_ROOM_BYTES: Final = 2**22
_EXTRA_TIMEOUT_S: Final = (
    3.0,
    3.0,
)  # a server need not let more connections in, and nobody waits long for that
_PACE_S, _PACE_BYTES = 60.0, 60_000


class Stream:
    """Brings blocks of one version into the part, over one connection at a time, until it is ended."""

    def __init__(
        self,
        remote: RemoteFile,
        version: Version,
        blocks: Blocks,
        part: PartialFile,
        limit_bytes: int,
    ) -> None:
        self._remote, self._version, self._blocks, self._part = remote, version, blocks, part
        self._limit_bytes = limit_bytes
        self._answer: requests.Response | None = None
        self._ended, self._why = Event(), ""
        self._came_bytes = self._paced_bytes = 0
        self._paced_at = time.monotonic()

    @property
    def welcome(self) -> bool:
        """Whether the server lets it in."""
        return self._came_bytes > 0

    def run(self, answer: requests.Response | None = None, at: int = 0) -> str:
        """Bring what comes from `answer`, which goes on at `at`, then ask for blocks; say why it stopped, if it had to.

        Raises `ContentChanged`, and `OrderError` or `TemporaryError` where the slide is too large or the disk too small.
        """
        try:
            if answer is not None:
                self._follow(answer, at)
            while not self._ended.is_set() and (block := self._blocks.ask(self)):
                self._bring(block)
        except ConnectionLost as cut:
            return self._why or str(cut)
        finally:
            self._blocks.leave(self)
        return self._why

    def end(self, why: str = "") -> None:
        """Have another thread's `run` return at once."""
        self._why = self._why or why
        self._ended.set()
        if self._answer is not None:
            with suppress(OSError, ValueError, RuntimeError):  # it ended by itself in the meantime
                self._answer.raw.shutdown()

    def keep_pace(self, now: float) -> None:
        """End it when it brought next to nothing for a minute. A socket's own time limit starts anew with each byte."""
        if now > self._paced_at + _PACE_S:
            if self._came_bytes < self._paced_bytes + _PACE_BYTES:
                self.end("sends next to nothing")
            self._paced_at, self._paced_bytes = now, self._came_bytes

    def _follow(self, answer: requests.Response, at: int) -> None:
        with answer:
            while block := self._blocks.go_on(at, self):
                self._copy(answer, block, at)
                at = block.end

    def _bring(self, block: Block) -> None:
        start, before_bytes = block.at, self._came_bytes
        headers = {"Range": f"bytes={start}-{block.end - 1}", "If-Range": self._version.validator}
        try:
            with self._remote.get(headers, _EXTRA_TIMEOUT_S) as answer:
                self._check(answer, start, block.end)
                self._copy(answer, block, start)
        except ConnectionLost:
            if self._came_bytes - before_bytes < _BARREN_BYTES:
                raise
        finally:
            self._blocks.leave(self)

    def _check(self, answer: requests.Response, start: int, end: int) -> None:
        part = stretch(answer)
        if answer.status_code in (200, 206) and self._version.differs(answer):
            raise ContentChanged
        if part and part.total not in (None, self._version.total):
            raise ContentChanged
        if not part or (part.start, part.end) != (start, end):
            raise ConnectionLost(f"answered {answer.status_code} to a second connection")

    def _copy(self, answer: requests.Response, block: Block, at: int) -> None:
        """Bring the block from `at` on, held as soon as bytes come, unless it was taken meanwhile."""
        self._answer = answer
        while at < block.end and (data := self._read(answer, min(_READ_BYTES, block.end - at))):
            if not self._blocks.hold(block, at, self):
                return
            if self._version.total is None:
                self._make_room(at + len(data))
            self._part.write(data, at)
            block.at = at = at + len(data)
            self._came_bytes += len(data)
        if at < block.end:
            self._end_at(at, answer)

    def _read(self, answer: requests.Response, most_bytes: int) -> bytes:
        try:
            data: bytes = b"" if self._ended.is_set() else answer.raw.read1(most_bytes)
        except (HTTPError, OSError):
            raise ConnectionLost("cut the connection or fell silent") from None
        if (
            self._ended.is_set()
        ):  # to http.client a connection that was cut looks like one that ended well
            raise ConnectionLost("was ended")
        return data

    def _end_at(self, size_bytes: int, answer: requests.Response) -> None:
        """Take the end of an answer for the end of the slide where nothing says how long it is, nor can be asked."""
        if self._version.total is not None:
            raise ConnectionLost(f"ended before its {self._version.total} bytes were here")
        if not size_bytes:
            raise ConnectionLost(
                "sent nothing"
            )  # how http.client shows a line that goes dead among the headers
        if (
            self._version.ranges
            and self._version.validator
            and "Transfer-Encoding" not in answer.headers
        ):
            raise ConnectionLost(
                "does not say how long the slide is"
            )  # a line that was cut looks the same
        self._blocks.end_at(size_bytes)

    def _make_room(self, size_bytes: int) -> None:
        check_size(self._remote, size_bytes, self._limit_bytes)
        self._part.reserve(min(-(-size_bytes // _ROOM_BYTES) * _ROOM_BYTES, self._limit_bytes))


def check_size(remote: RemoteFile, size_bytes: int, limit_bytes: int) -> None:
    """Raises `OrderError` when so many bytes are more than may be fetched."""
    if size_bytes > limit_bytes:
        detail = (
            f"{remote.shown} has at least {size_bytes} bytes; at most {limit_bytes} are fetched"
        )
        raise OrderError(
            "input_too_large", detail, hint="the operator sets worker.slides.max_slide_bytes"
        )
