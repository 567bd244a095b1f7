"""Byte ranges of one URL: several at a time, each resumed on a cut, all of the same content or none.

Owns the transfer. Must not know what the bytes mean or where they are kept.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from threading import Event
from typing import Final, NamedTuple

import requests
from urllib3.exceptions import HTTPError

from broker.errors import TemporaryError
from worker.http_session import cut_after, read_some
from worker.progress import Progress
from worker.sources.http import http_errors
from worker.sources.http.remote_file import (
    ConnectionLost,
    ContentChanged,
    ContentRange,
    RemoteFile,
    stretch,
    strong_etag,
)

FIRST_BYTES: Final = 2**15
"""What the first request asks for: enough for a header and a small directory."""
_AT_A_TIME: Final = 4
_REQUEST_BYTES: Final = 2**22
_TRIES: Final = 5
_BARREN_BYTES: Final = 2**16  # a try that brings less than this counts as one without anything new
_SILENCE_S: Final = 60.0
_TIMEOUT_S: Final = (5.0, 10.0)  # for one connection and one silence; a `Stop` waits for no more
_PAUSE_S, _TELL_S = 0.125, 0.25

Take = Callable[[int, bytes], None]
"""Who takes in bytes, with the offset of the first; called by several threads."""


class Range(NamedTuple):
    """Bytes from `start` up to, not including, `stop`."""

    start: int
    stop: int


class RangesUnsuitable(Exception):  # noqa: N818 - the caller has another way
    """Not a file of which a part can be fetched, or not worth it; the message says why."""


class RangedUrl:
    """A URL whose server gives ranges of content that a strong ETag stands for."""

    def __init__(
        self,
        http: requests.Session,
        url: str,
        watch: Progress,
        silence_s: float = _SILENCE_S,
        timeout_s: tuple[float, float] = _TIMEOUT_S,
    ) -> None:
        self._remote, self._watch = RemoteFile(http, url), watch
        self._silence_s, self._timeout_s = silence_s, timeout_s
        self._halt, self._retries, self._told = Event(), 0, 0
        self._live: set[requests.Response] = set()
        self._came_bytes = self._asked_bytes = 0
        self.etag = ""
        self.total_bytes = 0
        """The length of the whole content."""
        self.unchanged = False
        """Whether the server said that the content of the known ETag still stands."""

    def begin(self, known_etag: str, take: Take) -> bool:
        """Ask for the first bytes; False when this server gives no ranges, or none that can be trusted.

        Whatever keeps it from answering is left to the download of the whole, which knows the words for it.
        """
        with (
            suppress(ConnectionLost),
            self._get(Range(0, FIRST_BYTES), {"If-None-Match": known_etag}) as response,
        ):
            self.unchanged = response.status_code == 304 and bool(known_etag)
            self.etag = known_etag if self.unchanged else strong_etag(response)
            given = stretch(response)
            if given and given.total and self.etag:
                self.total_bytes = given.total
                first = Range(0, min(FIRST_BYTES, given.total))
                return (given.start, given.end) == first and self._copy(
                    response, first, take
                ) == first.stop
        return self.unchanged

    def fetch(self, ranges: Iterable[Range], take: Take) -> None:
        """Bring all the ranges, in any order. After an error nothing more can be fetched.

        Raises `ContentChanged`, and `TemporaryError` or `OrderError` where the server falls silent or refuses.
        """
        pieces = [piece for wanted in ranges for piece in _pieces(wanted)]
        self._asked_bytes += sum(piece.stop - piece.start for piece in pieces)
        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            jobs = {pool.submit(self._bring, piece, take) for piece in pieces}
            try:
                while jobs:
                    jobs = self._settle(jobs)
            except BaseException:
                self._end(pool)
                raise

    def _settle(self, jobs: set[Future[None]]) -> set[Future[None]]:
        done, left = wait(jobs, _TELL_S, FIRST_COMPLETED)
        for job in done:
            job.result()
        if self._told < self._retries:  # it moves, although nothing comes
            self._told = self._retries
            self._watch.progress("asking again", self._told, 0)
        self._watch.progress("fetching", self._came_bytes, self._asked_bytes)
        return left

    def _end(self, pool: ThreadPoolExecutor) -> None:
        self._halt.set()
        pool.shutdown(wait=False, cancel_futures=True)
        for response in list(self._live):
            with suppress(OSError, ValueError, RuntimeError):  # it ended by itself in the meantime
                response.raw.shutdown()

    def _bring(self, wanted: Range, take: Take) -> None:
        at, barren = wanted.start, 0
        while at < wanted.stop and not self._halt.is_set():
            before = at
            try:
                with self._get(
                    Range(at, wanted.stop), {"If-Range": self.etag}, self._timeout_s
                ) as response:
                    self._check(response, Range(at, wanted.stop))
                    at = self._copy(response, Range(at, wanted.stop), take)
                reason = "cut the connection or sends next to nothing"
            except ConnectionLost as cut:
                reason = str(cut)
            barren = 0 if at == wanted.stop or at - before >= _BARREN_BYTES else barren + 1
            if barren == _TRIES:
                raise TemporaryError(
                    "input_unreachable",
                    f"{self._remote.shown} {reason}; {self._came_bytes} bytes had come",
                )
            if barren:
                self._retries += 1
                self._halt.wait(random.uniform(0, _PAUSE_S * 2**barren))  # noqa: S311 - spreads load, guards nothing

    @contextmanager
    def _get(
        self,
        wanted: Range,
        conditions: dict[str, str],
        timeout_s: tuple[float, float] | None = None,
    ) -> Iterator[requests.Response]:
        headers = {"Range": f"bytes={wanted.start}-{wanted.stop - 1}"} | {
            k: v for k, v in conditions.items() if v
        }
        response = self._remote.get(headers, timeout_s)
        self._live.add(response)
        try:
            with response:
                yield response
        finally:
            self._live.discard(response)

    def _check(self, response: requests.Response, wanted: Range) -> None:
        """Let an answer pass only when it is exactly that range of the same content."""
        if (
            stretch(response) == ContentRange(*wanted, self.total_bytes)
            and strong_etag(response) == self.etag
        ):
            return
        if response.status_code in (200, 206, 412, 416):
            raise ContentChanged
        error = http_errors.refusal(response, self._remote.shown)
        if isinstance(error, TemporaryError):
            raise ConnectionLost(f"answered {response.status_code} in the middle")
        raise error

    def _copy(self, response: requests.Response, wanted: Range, take: Take) -> int:
        """Take in what comes of the range; the offset that this got to."""
        at = wanted.start
        with cut_after(self._silence_s, response.raw.shutdown) as late:
            while at < wanted.stop and not self._halt.is_set() and (data := _read(response)):
                if (
                    late.is_set() or self._halt.is_set()
                ):  # after a TLS line was shut down come its records, not bytes
                    break
                take(at, data[: wanted.stop - at])
                at = min(at + len(data), wanted.stop)
                self._came_bytes += len(data)
        return at


def _read(response: requests.Response) -> bytes:
    """What has come; nothing where the line was cut, too."""
    try:
        return read_some(response)
    except (HTTPError, OSError):
        return b""


def _pieces(wanted: Range) -> Iterator[Range]:
    for start in range(wanted.start, wanted.stop, _REQUEST_BYTES):
        yield Range(start, min(start + _REQUEST_BYTES, wanted.stop))
