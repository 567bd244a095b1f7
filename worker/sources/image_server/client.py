"""Asking one image server: a few requests at a time, each within time and size, and tried again where that may help.

Owns requests, their threads and their end. Must not know what is asked for, nor any protocol.
"""

import random
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event
from types import TracebackType
from typing import Final, Self

import requests
from urllib3.exceptions import HTTPError

from broker.errors import OrderError, TemporaryError
from broker.orders.fields import without_query
from worker.http_session import cut_after, read_some
from worker.progress import Progress, StopWork
from worker.sources.http import http_errors

AT_A_TIME: Final = 4
_TRIES: Final = 4
_PAUSE_S: Final = 0.125
_PATIENCE_S: Final = (
    30.0  # a server that asks for a longer pause gets it from the queue, not from a thread
)
_ANSWER_S: Final = 60.0
_TELL_S: Final = 0.25
_HEAD_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """A URL, the most bytes its answer may have, and whether an answer is whole."""

    url: str
    limit_bytes: int
    whole: Callable[[bytes], bool] = bool
    judge: Callable[[bytes], object] = bool
    """Raises when the first bytes are of nothing that is wanted: no gigabytes of something else."""


class ImageServerClient:
    """Threads that ask and wait. `watch` hears of the bytes that came; its `StopWork` ends them, as the context does.

    `timeout_s`: for one connection and one silence. Only a question's last try may take what the session allows.
    """

    def __init__(
        self, http: requests.Session, watch: Progress, timeout_s: tuple[float, float]
    ) -> None:
        self._http, self._watch, self._timeout_s, self._ended = http, watch, timeout_s, Event()
        self._pool = ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="image-server")
        self._bytes = self._retries = self._told = 0
        self._live: set[requests.Response] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        for response in list(self._live):
            with suppress(OSError, ValueError, RuntimeError):  # it ended by itself in the meantime
                response.raw.shutdown()
        self._pool.shutdown(cancel_futures=True)

    def begin(self, question: ImageRequest) -> Future[bytes]:
        """Ask as soon as a thread is free."""
        return self._pool.submit(self._ask, question)

    def result(self, answer: Future[bytes]) -> bytes:
        """The body of the answer.

        Raises what `answers.refusal` makes of any status but 200; `TemporaryError` for silence and cuts; `OrderError`
        for what leads nowhere; `StopWork` when `watch` does.
        """
        self._watch.progress("fetching", self._bytes, 0)
        while not wait([answer], _TELL_S).done:
            if self._told < self._retries:  # it moves, although nothing comes
                self._told = self._retries
                self._watch.progress("asking again", self._told, 0)
            self._watch.progress("fetching", self._bytes, 0)
        self._bytes += len(answer.result())
        return answer.result()

    def _ask(self, question: ImageRequest) -> bytes:
        """The first whole answer, or the last one as it is: what is wrong with it is for others to say."""
        for number in range(1, _TRIES + 1):
            pause_s = random.uniform(0, _PAUSE_S * 2**number)  # noqa: S311 - spreads load, guards nothing
            try:
                body = self._attempt(question, None if number == _TRIES else self._timeout_s)
            except TemporaryError as error:
                pause_s = error.retry_after_s or pause_s
                if number == _TRIES or pause_s > _PATIENCE_S:
                    raise
            else:
                if number == _TRIES or question.whole(body):
                    return body
            self._retries += 1
            if self._ended.wait(pause_s):
                break
        raise StopWork

    def _attempt(self, question: ImageRequest, timeout_s: tuple[float, float] | None) -> bytes:
        shown = without_query(question.url)
        with self._get(question.url, shown, timeout_s) as response, self._kept(response):
            if response.status_code != 200:
                raise http_errors.refusal(response, shown)
            length = _length(response)
            _check_size(length or 0, question, shown)
            body = self._body(response, question, shown)
        if length is not None and len(body) != length:
            raise _unreachable(shown, f"ended after {len(body)} of {length} bytes")
        return body

    @contextmanager
    def _kept(self, response: requests.Response) -> Iterator[None]:
        """An answer that is to be cut when the dialogue ends before it."""
        self._live.add(response)
        try:
            if self._ended.is_set():
                raise StopWork
            yield
        finally:
            self._live.discard(response)

    def _get(
        self, url: str, shown: str, timeout_s: tuple[float, float] | None
    ) -> requests.Response:
        try:
            return self._http.get(url, stream=True, timeout=timeout_s)
        except requests.Timeout:
            raise _unreachable(shown, "did not answer in time") from None
        except (ValueError, requests.TooManyRedirects):
            detail = f"{shown} is no URL to ask, or redirects to none"
            raise OrderError("input_not_found", detail, field="source.url") from None
        except requests.exceptions.SSLError:
            raise _unreachable(shown, "has a certificate that is not trusted") from None
        except (requests.RequestException, HTTPError, OSError):
            raise _unreachable(shown, "cannot be reached") from None

    def _body(self, response: requests.Response, question: ImageRequest, shown: str) -> bytes:
        body = bytearray()
        with cut_after(_ANSWER_S, response.raw.shutdown) as late:
            try:
                while data := read_some(response):
                    body += data
                    _check_size(len(body), question, shown)
                    if len(body) - len(data) < _HEAD_BYTES <= len(body):
                        question.judge(bytes(body[:_HEAD_BYTES]))
                    if self._ended.is_set():
                        raise StopWork
            except (HTTPError, OSError):
                raise _unreachable(shown, "cut the connection or fell silent") from None
        if late.is_set():
            raise _unreachable(shown, f"took more than {_ANSWER_S:g} s for one answer")
        return bytes(body)


def _length(response: requests.Response) -> int | None:
    value = response.headers.get("Content-Length", "")
    chunked = "Transfer-Encoding" in response.headers
    return int(value) if re.fullmatch(r"[0-9]{1,18}", value) and not chunked else None


def _check_size(size_bytes: int, question: ImageRequest, shown: str) -> None:
    if size_bytes > question.limit_bytes:
        detail = f"{shown} answers with at least {size_bytes} bytes; at most {question.limit_bytes} can be right"
        raise OrderError(
            "slide_unreadable",
            detail,
            hint="see that source.url and source.protocol belong together",
        )


def _unreachable(shown: str, reason: str) -> TemporaryError:
    return TemporaryError("input_unreachable", f"{shown} {reason}")
