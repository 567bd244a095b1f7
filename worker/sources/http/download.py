"""One slide over HTTP into a part: within limits, resumed on a cut, checked, started again when it changed on its way.

Owns the story of a fetch: how often, how long, and what a fault means for the order. Must not know the shelf's order or
what was fetched before.
"""

import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import requests

from broker.errors import OrderError, TemporaryError
from worker.progress import Progress
from worker.slide_cache.partial_file import PartialFile
from worker.slides import signatures
from worker.sources.http import http_errors
from worker.sources.http.blocks import Blocks
from worker.sources.http.connection import Stream, check_size
from worker.sources.http.connection_pool import Transfer
from worker.sources.http.remote_file import (
    ConnectionLost,
    ContentChanged,
    ContentRange,
    RemoteFile,
    Version,
    stretch,
)

_STREAMS: Final = 4
_PARALLEL_BYTES: Final = 2**24  # less is here before more connections are
_TRIES: Final = 5
_BARREN_BYTES: Final = 2**16  # a try that brings less than this counts as one without anything new
_PAUSE_S, _POLL_S = 0.125, 0.1
_SNIFF_BYTES: Final = 1024


class Download:
    """The fetch of one URL into one part. `judge` raises when the first bytes are of nothing that is wanted."""

    def __init__(
        self,
        http: requests.Session,
        url: str,
        part: PartialFile,
        limit_bytes: int,
        watch: Progress,
        judge: Callable[[bytes], object] = signatures.suffix,
    ) -> None:
        self._remote, self._part, self._limit_bytes = RemoteFile(http, url), part, limit_bytes
        self._watch, self._judge = watch, judge
        self._version: Version | None = None
        self._blocks = Blocks(0)
        self._streams, self._resumes = _STREAMS, True
        self._changes = self._mismatches = 0

    @property
    def etag(self) -> str:
        """The strong ETag of what came; empty when the server gave none."""
        return self._version.etag if self._version else ""

    def run(self, known_etag: str = "") -> bool:
        """Fill the part; False when the server says that the content of `known_etag` still stands.

        Raises `OrderError` for what the caller can mend, `TemporaryError` when the server is silent or overloaded.
        """
        barren = 0
        while True:
            before = self._part.bytes
            try:
                return self._attempt(known_etag)
            except ConnectionLost as cut:
                reason = str(cut)
            except ContentChanged:
                self._note_change()
                reason = self._start_over("changed while it was fetched")
            barren = barren + 1 if self._part.bytes - before < _BARREN_BYTES else 0
            if barren == _TRIES:
                raise TemporaryError(
                    "input_unreachable", f"{self._remote.shown} {reason}; {self._came()}"
                )
            if barren:  # it moves, although nothing comes
                self._watch.progress("asking again", barren, _TRIES)
            self._pause(random.uniform(0, _PAUSE_S * 2**barren))  # noqa: S311 - spreads load, guards nothing

    def _attempt(self, known_etag: str) -> bool:
        response = self._remote.get(self._conditions(known_etag))
        with response:
            if response.status_code == 304 and known_etag and not self._part.bytes:
                return False
            version = self._begin(response)
            self._transfer(version, response)
        self._verify(version)
        return True

    def _conditions(self, known_etag: str) -> dict[str, str]:
        validator = self._version.validator if self._version and self._resumes else ""
        if self._part.bytes and not validator:
            self._start_over("")
        if self._part.bytes:
            return {"Range": f"bytes={self._blocks.front}-", "If-Range": validator}
        return {"If-None-Match": known_etag} if known_etag else {}

    def _begin(self, response: requests.Response) -> Version:
        """Set the part to where this answer goes on, or raise what the answer means."""
        known = self._version
        if response.status_code == 200:
            version = Version.of(response)
            if known and self._part.bytes:  # a range of it was asked for
                self._resumes = version.validator != known.validator
                if version.validator and self._resumes:
                    self._note_change()
            return self._start(replace(version, ranges=version.ranges and self._resumes))
        if known and self._part.bytes and response.status_code in (206, 416):
            return self._go_on(known, response)
        error = http_errors.refusal(
            response, self._remote.shown, self._came() if self._part.bytes else ""
        )
        if self._part.bytes and isinstance(error, TemporaryError):
            raise ConnectionLost(f"answered {response.status_code} in the middle")
        raise error

    def _start(self, version: Version) -> Version:
        self._part.restart(*([version.checksum.algorithm] if version.checksum else []))
        self._make_room(version)
        self._blocks = Blocks(self._limit_bytes + 1 if version.total is None else version.total)
        return version

    def _go_on(self, known: Version, response: requests.Response) -> Version:
        """Take an answer to `Range` only when it is the rest of the same content, or says that there is no more."""
        part, front = stretch(response), self._blocks.front
        if (
            response.status_code == 416
            and response.headers.get("Content-Range") == f"bytes */{front}"
        ):
            part = ContentRange(front, front, front)
        if not part or part.start != front:
            self._resumes = False
            raise ConnectionLost(self._start_over("answers a Range wrongly"))
        if known.differs(response) or (known.total and part.total not in (None, known.total)):
            raise ContentChanged
        if known.total is None and part.total is not None:
            known = replace(known, total=part.total)
            self._make_room(known)
            self._blocks = Blocks(part.total, part.start)
        return known

    def _make_room(self, version: Version) -> None:
        self._version = version
        check_size(self._remote, version.total or 0, self._limit_bytes)
        self._part.reserve(version.total or 0)

    def _transfer(self, version: Version, response: requests.Response) -> None:
        def new() -> Stream:
            return Stream(self._remote, version, self._blocks, self._part, self._limit_bytes)

        left_bytes = (version.total or 0) - self._part.bytes
        parallel = version.ranges and version.validator and left_bytes > _PARALLEL_BYTES
        why = Transfer(new, self._streams if parallel else 1, self._blocks).run(
            response, self._look
        )
        if not self._blocks.whole:
            raise ConnectionLost(why)
        self._watch.progress("fetching", self._part.bytes, self._part.bytes)

    def _look(self) -> bool:
        """Say how far it is and look at what came; whether there is more to hash at once."""
        self._tell()
        front = self._blocks.front
        if front >= _SNIFF_BYTES:
            self._judge(self._part.head())  # no gigabytes of something else
        return self._part.hash_on(front)

    def _verify(self, version: Version) -> None:
        """Hold what came against the server's own checksum; a transfer that broke it is repeated once."""
        said = version.checksum
        if said is None or self._part.digest_by(said.algorithm) == said.digest:
            return
        came = f"what came has the {said.algorithm} {self._part.digest_by(said.algorithm)}"
        self._mismatches += 1
        why = self._start_over(
            f"sends something else than its {said.header} says: {came}, and it says {said.digest}"
        )
        if self._mismatches == 2:
            raise TemporaryError("input_unreachable", f"{self._remote.shown} {why}")
        raise ConnectionLost(why)

    def _start_over(self, why: str) -> str:
        """Forget what came and go on carefully, over one connection; hands back `why`."""
        self._part.restart()
        self._version, self._streams = None, 1
        return why

    def _note_change(self) -> None:
        self._changes += 1
        if self._changes == 2:
            detail = f"{self._remote.shown} changed twice while it was fetched"
            raise OrderError(
                "slide_unreadable",
                detail,
                hint="order again once the slide is complete at its source",
            )

    def _came(self) -> str:
        of = f" of {self._version.total}" if self._version and self._version.total else ""
        return f"{self._part.bytes}{of} bytes had come"

    def _tell(self) -> None:
        self._watch.progress(
            "fetching", self._part.bytes, (self._version and self._version.total) or 0
        )

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._tell()
            time.sleep(_POLL_S)
