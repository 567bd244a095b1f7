"""Byte ranges of one URL, all of the same version of its file."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, suppress
from typing import Final, NamedTuple

import requests

from broker.errors import TemporaryError
from broker.orders.fields import without_query
from worker.progress import Progress
from worker.sources.errors import InputUnreachableError
from worker.sources.http import http_errors
from worker.sources.http.remote_file import (
    ContentChanged,
    ContentRange,
    content_range,
    strong_etag,
)
from worker.sources.http.retrying_get import ConnectionLost, ParallelGets, Retries, TimeoutS

FIRST_BYTES: Final = 2**15
"""The length of the first request: enough for a header and a small directory."""
_MAX_REQUESTS: Final = 4
_MAX_REQUEST_BYTES: Final = 2**22
_MAX_FAILURES: Final = 5
_DEADLINE_S: Final = 60.0
_TIMEOUT_S: Final = (5.0, 10.0)  # stopping the work waits for an answer no longer than this
_REPORT_S: Final = 0.25

WriteAt = Callable[[int, bytes], None]
"""Takes the offset in the file and the bytes from there on; called by several threads."""


class Range(NamedTuple):
    """The bytes from `start` up to, not including, `stop`."""

    start: int
    stop: int


class RangesUnsuitable(Exception):  # noqa: N818 - the caller downloads the whole file instead
    """No part of the file can be fetched, or it is not worth it; the message says why."""


class RangedUrl:
    """A URL whose server answers byte ranges of a version that has a strong ETag."""

    def __init__(
        self,
        session: requests.Session,
        url: str,
        progress: Progress,
        deadline_s: float = _DEADLINE_S,
        timeout_s: TimeoutS = _TIMEOUT_S,
    ) -> None:
        self._gets = ParallelGets(session, progress)
        self._url = url
        self._safe_url = without_query(url)
        self._deadline_s = deadline_s
        self._timeout_s = timeout_s
        self._received_bytes = 0
        self._requested_bytes = 0
        self.etag = ""
        self.total_bytes = 0
        """The length of the whole file."""
        self.unchanged = False
        """Whether the server said that the known ETag is still valid."""

    def begin(self, known_etag: str, write: WriteAt) -> bool:
        """Request the first bytes.

        Return False where the server gives no ranges that can be trusted.

        That includes every failure: the download of the whole file, which follows, states it
        better.
        """
        headers = {"Range": f"bytes=0-{FIRST_BYTES - 1}"}
        if known_etag:
            headers["If-None-Match"] = known_etag
        with suppress(ConnectionLost), self._gets.get(self._url, headers) as response:
            self.unchanged = response.status_code == 304 and bool(known_etag)
            if self.unchanged:
                self.etag = known_etag
                return True
            self.etag = strong_etag(response)
            answered = content_range(response)
            if answered and answered.total_bytes and self.etag:
                self.total_bytes = answered.total_bytes
                first = Range(0, min(FIRST_BYTES, answered.total_bytes))
                if (answered.start, answered.end) == first:
                    return self._receive(response, first, write) == first.stop
        return False

    def fetch(self, ranges: Iterable[Range], write: WriteAt) -> None:
        """Receive all the ranges, in any order. After an error nothing more can be fetched.

        Raises `ContentChanged`; `TemporaryError` or `OrderError` where the server falls silent or
        refuses.
        """
        pieces = [piece for each in ranges for piece in _pieces(each)]
        self._requested_bytes += sum(piece.stop - piece.start for piece in pieces)
        with ThreadPoolExecutor(_MAX_REQUESTS) as threads:
            running = {threads.submit(self._fetch_piece, piece, write) for piece in pieces}
            try:
                while running:
                    running = self._wait(running)
            except BaseException:
                self._gets.stop()
                threads.shutdown(wait=False, cancel_futures=True)
                raise

    def _wait(self, running: set[Future[None]]) -> set[Future[None]]:
        """Wait a moment, report progress, and return the pieces that are still missing."""
        done, missing = wait(running, _REPORT_S, FIRST_COMPLETED)
        for job in done:
            job.result()
        self._gets.report(self._received_bytes, self._requested_bytes)
        return missing

    def _fetch_piece(self, piece: Range, write: WriteAt) -> None:
        retries = Retries(_MAX_FAILURES)
        position = piece.start
        while True:
            before = position
            try:
                position = self._request(Range(position, piece.stop), write)
                reason = "cut the connection or sends next to nothing"
            except ConnectionLost as lost:
                reason = str(lost)
            if position == piece.stop:
                return
            retries.add_failure(position - before)
            if retries.exhausted:
                raise InputUnreachableError(
                    f"{self._safe_url} {reason}; {self._received_bytes} bytes had come"
                )
            if retries.failures:
                self._gets.pause(retries.pause_s())

    def _request(self, missing: Range, write: WriteAt) -> int:
        """Request a range and return the offset up to which it was received."""
        headers = {
            "Range": f"bytes={missing.start}-{missing.stop - 1}",
            "If-Range": self.etag,
        }
        with self._gets.get(self._url, headers, self._timeout_s) as response:
            self._check(response, missing)
            return self._receive(response, missing, write)

    def _check(self, response: requests.Response, requested: Range) -> None:
        """Raise unless the answer is exactly the requested range of the same version."""
        expected = ContentRange(requested.start, requested.stop, self.total_bytes)
        if content_range(response) == expected and strong_etag(response) == self.etag:
            return
        if response.status_code in (200, 206, 412, 416):
            raise ContentChanged
        error = http_errors.refusal(response, self._safe_url)
        if isinstance(error, TemporaryError):
            raise ConnectionLost(f"answered {response.status_code} in the middle")
        raise error

    def _receive(self, response: requests.Response, requested: Range, write: WriteAt) -> int:
        """Write what arrives of the range and return the offset up to which it was received."""
        position = requested.start
        size_bytes = requested.stop - requested.start
        body = self._gets.read(response, size_bytes, self._deadline_s)
        with closing(body), suppress(ConnectionLost):  # what arrived before counts
            for data in body:
                write(position, data)
                position += len(data)
                self._received_bytes += len(data)
        return position


def _pieces(whole: Range) -> Iterator[Range]:
    for start in range(whole.start, whole.stop, _MAX_REQUEST_BYTES):
        yield Range(start, min(start + _MAX_REQUEST_BYTES, whole.stop))
