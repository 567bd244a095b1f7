"""Requests to one image server, a few at a time, repeated where that may help."""

from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import requests

from broker.errors import TemporaryError
from broker.orders.fields import without_query
from worker.progress import Progress
from worker.slides.errors import UnreadableSlideError
from worker.sources.errors import InputUnreachableError
from worker.sources.http import http_errors
from worker.sources.http.remote_file import content_length
from worker.sources.http.retrying_get import ConnectionLost, ParallelGets, Retries, TimeoutS
from worker.sources.image_server import image_headers

MAX_REQUESTS: Final = 4
_MAX_TRIES: Final = 4
_MAX_PAUSE_S: Final = 30.0  # a longer pause is spent in the queue, not in this thread
_DEADLINE_S: Final = 60.0
_REPORT_S: Final = 0.25
_HEAD_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """A URL and the most bytes that its answer may have.

    `expects_image`: whether an answer that is no PNG or JPEG is refused at its first bytes, and one
    that ends too early is requested again.
    """

    url: str
    limit_bytes: int
    expects_image: bool = False


class ImageServerClient:
    """Sends requests from threads of its own, which end with the context.

    `timeout_s`: to connect, and without a byte. Only the last try of a request may take what the
    session allows.
    """

    def __init__(self, session: requests.Session, progress: Progress, timeout_s: TimeoutS) -> None:
        self._gets = ParallelGets(session, progress, url_field="source.url")
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(MAX_REQUESTS, thread_name_prefix="image-server")
        self._received_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._gets.stop()
        self._threads.shutdown(cancel_futures=True)

    def begin(self, request: ImageRequest) -> Future[bytes]:
        """Send the request as soon as a thread is free."""
        return self._threads.submit(self._send, request)

    def result(self, answer: Future[bytes]) -> bytes:
        """Wait for an answer and return its body.

        Raise what `http_errors.refusal` returns for any status but 200, `InputUnreachableError`
        for silence and cuts, `OrderError` for an answer that cannot be right, and `StopWork`.
        """
        self._gets.report(self._received_bytes, 0)
        while not wait([answer], _REPORT_S).done:
            self._gets.report(self._received_bytes, 0)
        body = answer.result()
        self._received_bytes += len(body)
        return body

    def _send(self, request: ImageRequest) -> bytes:
        """Return the first complete answer, or the last one even if it is incomplete.

        Whoever uses an incomplete answer reports what is wrong with it.
        """
        retries = Retries(_MAX_TRIES)
        while True:
            is_last_try = retries.failures == _MAX_TRIES - 1
            requested_pause_s = None
            try:
                body = self._try_once(request, None if is_last_try else self._timeout_s)
            except TemporaryError as error:
                requested_pause_s = error.retry_after_s
                if is_last_try or (requested_pause_s or 0) > _MAX_PAUSE_S:
                    raise
            else:
                if is_last_try or _is_complete(request, body):
                    return body
            retries.add_failure()
            self._gets.pause(requested_pause_s or retries.pause_s())

    def _try_once(self, request: ImageRequest, timeout_s: TimeoutS) -> bytes:
        safe_url = without_query(request.url)
        try:
            with self._gets.get(request.url, {}, timeout_s) as response:
                if response.status_code != 200:
                    raise http_errors.refusal(response, safe_url)
                return self._body(response, request, safe_url)
        except ConnectionLost as lost:
            raise InputUnreachableError(f"{safe_url} {lost}") from None

    def _body(self, response: requests.Response, request: ImageRequest, safe_url: str) -> bytes:
        length_bytes = content_length(response)
        _check_size(length_bytes or 0, request, safe_url)
        body = bytearray()
        head_checked = False
        with closing(self._gets.read(response, request.limit_bytes + 1, _DEADLINE_S)) as chunks:
            for data in chunks:
                body += data
                _check_size(len(body), request, safe_url)
                if request.expects_image and not head_checked and len(body) >= _HEAD_BYTES:
                    image_headers.check_is_image(bytes(body[:_HEAD_BYTES]))
                    head_checked = True
        if length_bytes is not None and len(body) != length_bytes:
            raise ConnectionLost(f"ended after {len(body)} of {length_bytes} bytes")
        return bytes(body)


def _is_complete(request: ImageRequest, body: bytes) -> bool:
    if request.expects_image:
        return image_headers.is_complete(body)
    return bool(body)


def _check_size(size_bytes: int, request: ImageRequest, safe_url: str) -> None:
    if size_bytes > request.limit_bytes:
        raise UnreadableSlideError(
            f"{safe_url} answers with at least {size_bytes} bytes; "
            f"at most {request.limit_bytes} can be right",
            hint="see that source.url and source.protocol belong together",
        )
