"""One slide over HTTP into a part: within limits, resumed on a cut, started again when it changed in the middle.

Owns the transfer. Must not know the shelf's order or what was fetched before.
"""

import random
import re
import time

import requests
from urllib3.exceptions import HTTPError

from broker.errors import OrderError, TemporaryError
from broker.request import without_query
from worker.http import cut_after, read_some
from worker.incoming import Part
from worker.sources import answers, content
from worker.values import Watch

_TRIES = 5
_BARREN_BYTES = 2**16  # a try that brings less than this counts as one without anything new
_TOTAL_S = 4 * 3600.0
_STRETCH_S, _STRETCH_BYTES = 0.25, 4 * 2**20
_SILENCE_S = 60.0
_SLOW_AFTER_S, _SLOW_BYTES_PER_S = 30.0, 1000
_PAUSE_S, _POLL_S = 0.125, 0.1
_SNIFF_BYTES = 1024
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)")


class _Cut(Exception):  # noqa: N818 - not an error yet: the transfer goes on from here
    """The transfer ended before the slide did."""


class Download:
    """The transfer of one URL into one part."""

    def __init__(self, http: requests.Session, url: str, part: Part, limit_bytes: int, watch: Watch) -> None:
        self._http, self._url, self._part, self._limit_bytes, self._watch = http, url, part, limit_bytes, watch
        self._shown = without_query(url)
        self._total: int | None = None
        self._validator = ""
        self._told_at, self._until = 0.0, time.monotonic() + _TOTAL_S
        self.etag = ""
        """The strong ETag of what came; empty when the server gave none."""

    def run(self, known_etag: str = "") -> bool:
        """Fill the part; False when the server says that the content of `known_etag` still stands.

        Raises `OrderError` for what the caller can mend, `TemporaryError` when the server is silent or overloaded.
        """
        barren = 0
        while True:
            before = self._part.bytes
            try:
                return self._attempt(known_etag)
            except _Cut as cut:
                reason = str(cut)
            barren = barren + 1 if self._part.bytes - before < _BARREN_BYTES else 0
            if barren == _TRIES or time.monotonic() > self._until:
                detail = f"{self._shown} {reason}; {self._part.bytes} bytes had come"
                raise TemporaryError("input_unreachable", detail)
            self._pause(random.uniform(0, _PAUSE_S * 2**barren))  # noqa: S311 - spreads load, guards nothing

    def _attempt(self, known_etag: str) -> bool:
        response = self._get(known_etag)
        with response:
            if response.status_code == 304 and known_etag and not self._part.bytes:
                return False
            self._begin(response)
            self._copy(response)
        return True

    def _get(self, known_etag: str) -> requests.Response:
        headers = {}
        if self._part.bytes and not self._validator:
            self._part.restart()
        if self._part.bytes:
            headers = {"Range": f"bytes={self._part.bytes}-", "If-Range": self._validator}
        elif known_etag:
            headers = {"If-None-Match": known_etag}
        try:
            return self._http.get(self._url, headers=headers, stream=True)
        except requests.Timeout:
            raise _Cut("did not answer in time") from None
        except (ValueError, requests.TooManyRedirects):
            raise OrderError(
                "input_not_found", f"{self._shown} is no URL to fetch from, or redirects to none"
            ) from None
        except requests.exceptions.SSLError:
            raise _Cut("has a certificate that is not trusted") from None
        except (requests.RequestException, HTTPError, OSError):
            raise _Cut("cannot be reached") from None

    def _begin(self, response: requests.Response) -> None:
        """Set the part to where this answer goes on, or raise what the answer means."""
        if response.status_code == 206 and self._part.bytes:
            self._go_on(response)
        elif response.status_code == 200:
            self._start(response)
        elif self._part.bytes and response.status_code == 416:
            raise self._start_over()
        else:
            error = answers.refusal(response, self._shown)
            if self._part.bytes and isinstance(error, TemporaryError):
                raise _Cut(f"answered {response.status_code} in the middle")
            raise error

    def _start(self, response: requests.Response) -> None:
        self._part.restart()
        self._total = _length(response)
        self.etag = _strong_etag(response)
        self._validator = self.etag or response.headers.get("Last-Modified", "")
        self._check_size(self._total or 0)
        self._part.reserve(self._total or 0)

    def _go_on(self, response: requests.Response) -> None:
        """Take an answer to `Range` only when it is the rest of the same content."""
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        given = _strong_etag(response) if self.etag else response.headers.get("Last-Modified", "")
        if not found or int(found[1]) != self._part.bytes or given not in ("", self._validator):
            raise self._start_over()
        if self._total is None and found[2] != "*":
            self._total = int(found[2])
        if found[2] not in ("*", str(self._total)):
            raise self._start_over()

    def _start_over(self) -> _Cut:
        self._part.restart()
        return _Cut("changed while it was fetched, or answers a Range wrongly")

    def _copy(self, response: requests.Response) -> None:
        began, before = time.monotonic(), self._part.bytes
        while self._stretch(response):
            self._tell()
            if self._part.bytes >= _SNIFF_BYTES:
                content.suffix(self._part.head())  # no gigabytes of something else
            took_s = time.monotonic() - began
            if time.monotonic() > self._until:
                raise _Cut("takes hours")
            if took_s > _SLOW_AFTER_S and self._part.bytes - before < took_s * _SLOW_BYTES_PER_S:
                raise _Cut("sends next to nothing")
        self._check_end()
        self._total = self._part.bytes
        self._tell()

    def _check_end(self) -> None:
        if self._total is None and not self._part.bytes:
            raise _Cut("sent nothing")  # how http.client shows a line that goes dead among the headers
        if self._total is not None and self._part.bytes < self._total:
            raise _Cut(f"ended before its {self._total} bytes were here")
        if self._total is not None and self._part.bytes > self._total:
            raise self._start_over()

    def _stretch(self, response: requests.Response) -> bool:
        """Take in what comes until a quarter of a second after the last report, at most 4 MB; False at the end."""
        goal = self._part.bytes + _STRETCH_BYTES
        if self._total is None:
            self._part.reserve(min(goal, self._limit_bytes))
        with cut_after(_SILENCE_S, response.raw.shutdown) as late:
            while data := self._read(response):
                self._check_size(self._part.bytes + len(data))
                self._part.write(data)
                if self._part.bytes >= goal or time.monotonic() > self._told_at + _STRETCH_S:
                    return True
        if late.is_set():
            raise _Cut("sends next to nothing")
        return False

    def _read(self, response: requests.Response) -> bytes:
        try:
            return read_some(response)
        except (HTTPError, OSError):
            raise _Cut("cut the connection or fell silent") from None

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self._limit_bytes:
            detail = f"{self._shown} has at least {size_bytes} bytes; at most {self._limit_bytes} are fetched"
            raise OrderError("input_too_large", detail, hint="the operator sets worker.slides.max_slide_bytes")

    def _tell(self) -> None:
        self._told_at = time.monotonic()
        self._watch.progress("fetching", self._part.bytes, self._total or 0)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._tell()
            time.sleep(_POLL_S)


def _length(response: requests.Response) -> int | None:
    value = response.headers.get("Content-Length", "")
    chunked = "Transfer-Encoding" in response.headers
    return int(value) if re.fullmatch(r"[0-9]{1,18}", value) and not chunked else None


def _strong_etag(response: requests.Response) -> str:
    etag = response.headers.get("ETag", "")
    return etag if re.fullmatch(r'"[\x21\x23-\x7e]{1,1000}"', etag) else ""
