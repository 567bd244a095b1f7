"""The download of one file: resumed after a cut, verified, started over when it changed."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import requests

from broker.errors import TemporaryError
from worker.progress import Progress
from worker.slide_cache.partial_file import PartialFile
from worker.slides.errors import UnreadableSlideError
from worker.sources.errors import InputUnreachableError
from worker.sources.http import content_encoding, http_errors
from worker.sources.http.blocks import Blocks
from worker.sources.http.connections import ConnectionPool, check_size
from worker.sources.http.remote_file import (
    ContentChanged,
    ContentRange,
    RemoteFile,
    Version,
    content_range,
)
from worker.sources.http.retrying_get import ConnectionLost, Retries

_MAX_CONNECTIONS: Final = 4
_PARALLEL_BYTES: Final = 2**24  # less has arrived before further connections are open
_MAX_FAILURES: Final = 5
_POLL_S: Final = 0.05
_REPORT_S: Final = 0.1
_HEAD_BYTES: Final = 1024

ContentCheck = Callable[[bytes], object]
"""Raises `OrderError` when a file that begins with these bytes is not what is expected."""


class Download:
    """The download of one URL into one partial file.

    `check_content` is called with the first bytes as soon as they are here, so that nothing large
    is downloaded in vain.
    """

    def __init__(
        self,
        session: requests.Session,
        url: str,
        part: PartialFile,
        limit_bytes: int,
        progress: Progress,
        check_content: ContentCheck,
    ) -> None:
        self._remote = RemoteFile(session, url)
        self._part = part
        self._limit_bytes = limit_bytes
        self._progress = progress
        self._check_content = check_content
        self._version: Version | None = None
        self._blocks = Blocks(0)
        self._max_connections = _MAX_CONNECTIONS
        self._may_resume = True
        self._changes = 0
        self._mismatches = 0

    @property
    def etag(self) -> str:
        """The strong ETag of the file; empty where the server gives none."""
        if self._version is None:
            return ""
        return self._version.etag

    def run(self, known_etag: str = "") -> bool:
        """Fill the partial file.

        Return False where the server says that `known_etag` is still valid.

        Raises `OrderError` for what the caller can correct, `TemporaryError` when the server is
        silent or overloaded.
        """
        retries = Retries(_MAX_FAILURES)
        while True:
            bytes_before = self._part.bytes
            try:
                return self._attempt(known_etag)
            except ConnectionLost as lost:
                reason = str(lost)
            except ContentChanged:
                self._count_change()
                self._start_over()
                reason = "changed while it was fetched"
            retries.add_failure(self._part.bytes - bytes_before)
            if retries.exhausted:
                raise InputUnreachableError(
                    f"{self._remote.safe_url} {reason}; {self._received_text()}"
                )
            if retries.failures:  # a sign of life while no bytes arrive
                self._progress.report("asking again", retries.failures, _MAX_FAILURES)
            self._pause(retries.pause_s())

    def _attempt(self, known_etag: str) -> bool:
        response = self._remote.get(self._request_headers(known_etag))
        with response:
            if response.status_code == 304 and known_etag and not self._part.bytes:
                return False
            version = self._accept(response)
            self._receive(version, response)
        self._verify(version, content_encoding.encoded_digest(response))
        return True

    def _request_headers(self, known_etag: str) -> dict[str, str]:
        validator = ""
        if self._version and self._may_resume:
            validator = self._version.validator
        if self._part.bytes and not validator:
            self._start_over()
        if self._part.bytes:
            return {"Range": f"bytes={self._blocks.front}-", "If-Range": validator}
        if known_etag:
            return {"If-None-Match": known_etag}
        return {}

    def _accept(self, response: requests.Response) -> Version:
        """Prepare for what the answer holds and return its version, or raise what it means."""
        if response.status_code == 200:
            return self._accept_whole(response)
        if not self._part.bytes:
            raise http_errors.refusal(response, self._remote.safe_url)
        if self._version and response.status_code in (206, 416):
            return self._accept_rest(self._version, response)
        error = http_errors.refusal(response, self._remote.safe_url, self._received_text())
        if isinstance(error, TemporaryError):
            raise ConnectionLost(f"answered {response.status_code} in the middle")
        raise error

    def _accept_whole(self, response: requests.Response) -> Version:
        version = Version.from_response(response)
        if self._version and self._part.bytes:  # the rest was requested, and the whole came
            self._may_resume = version.validator != self._version.validator
            if version.validator and self._may_resume:
                self._count_change()
        version = replace(version, accepts_ranges=version.accepts_ranges and self._may_resume)
        if version.checksum:
            self._part.restart(version.checksum.algorithm)
        else:
            self._part.restart()
        self._reserve(version)
        if version.total_bytes is None:
            self._blocks = Blocks(self._limit_bytes + 1)
        else:
            self._blocks = Blocks(version.total_bytes)
        return version

    def _accept_rest(self, known: Version, response: requests.Response) -> Version:
        """Accept an answer to `Range` if it is the rest of the same version, or states its end."""
        front = self._blocks.front
        found = content_range(response)
        unsatisfied_range = response.headers.get("Content-Range")
        if response.status_code == 416 and unsatisfied_range == f"bytes */{front}":
            found = ContentRange(front, front, front)
        if not found or found.start != front:
            self._may_resume = False
            self._start_over()
            raise ConnectionLost("answers a Range wrongly")
        if known.differs(response):
            raise ContentChanged
        if known.total_bytes and found.total_bytes not in (None, known.total_bytes):
            raise ContentChanged
        if known.total_bytes is None and found.total_bytes is not None:
            known = replace(known, total_bytes=found.total_bytes)
            self._reserve(known)
            self._blocks = Blocks(found.total_bytes, found.start)
        return known

    def _reserve(self, version: Version) -> None:
        self._version = version
        size_bytes = version.total_bytes or 0
        check_size(self._remote, size_bytes, self._limit_bytes)
        self._part.reserve(size_bytes)

    def _receive(self, version: Version, response: requests.Response) -> None:
        """Receive all that is missing, over several connections where that pays."""
        missing_bytes = (version.total_bytes or 0) - self._part.bytes
        max_connections = 1
        if version.accepts_ranges and version.validator and missing_bytes > _PARALLEL_BYTES:
            max_connections = self._max_connections
        with ConnectionPool(
            self._remote, version, self._blocks, self._part, self._limit_bytes, max_connections
        ) as pool:
            first_connection = pool.start(response)
            while pool.running:
                more_to_hash = self._check_received()
                pool.wait(0.0 if more_to_hash else _POLL_S)
        reason = first_connection.result()
        if not self._blocks.complete:
            raise ConnectionLost(reason or "ended before all was here")
        self._progress.report("fetching", self._part.bytes, self._part.bytes)

    def _check_received(self) -> bool:
        """Report progress, check and hash what has arrived.

        Return whether there is more to hash now.
        """
        self._report()
        front = self._blocks.front
        if front >= _HEAD_BYTES:
            self._check_content(self._part.first_bytes())
        return self._part.hash_up_to(front)

    def _verify(self, version: Version, encoded_digest: str) -> None:
        """Compare what arrived with the server's own checksum.

        A transfer that broke it is repeated once. A checksum is of the encoded bytes (RFC 9530, 3),
        whose digest is `encoded_digest`; one that an object store made is of the file as well
        where a server in between has encoded it.
        """
        stated = version.checksum
        if stated is None:
            return
        digest = self._part.hexdigest_of(stated.algorithm)
        if stated.digest in (digest, encoded_digest):
            return
        self._start_over()
        self._mismatches += 1
        reason = (
            f"sends something else than its {stated.header} says: "
            f"what came has the {stated.algorithm} {digest}, and it says {stated.digest}"
        )
        if self._mismatches == 2:
            raise InputUnreachableError(f"{self._remote.safe_url} {reason}")
        raise ConnectionLost(reason)

    def _start_over(self) -> None:
        """Forget what arrived; from now on a single connection is used."""
        self._part.restart()
        self._version = None
        self._max_connections = 1

    def _count_change(self) -> None:
        self._changes += 1
        if self._changes == 2:
            raise UnreadableSlideError(
                f"{self._remote.safe_url} changed twice while it was fetched",
                hint="order again once the slide is complete at its source",
            )

    def _received_text(self) -> str:
        if self._version and self._version.total_bytes:
            return f"{self._part.bytes} of {self._version.total_bytes} bytes had come"
        return f"{self._part.bytes} bytes had come"

    def _report(self) -> None:
        total_bytes = 0
        if self._version and self._version.total_bytes:
            total_bytes = self._version.total_bytes
        self._progress.report("fetching", self._part.bytes, total_bytes)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._report()
            time.sleep(_REPORT_S)
