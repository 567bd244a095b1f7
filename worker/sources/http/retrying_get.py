"""HTTP GET as every source uses it, with retries, time limits and a way to stop.

No other module of `worker.sources` handles an exception of requests or urllib3.
"""

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from threading import Event
from typing import Final
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import DecodeError, HTTPError

from broker.orders.fields import without_query
from worker.backoff import backoff_s
from worker.http_session import (
    READ_BYTES,
    connection_fault,
    cut_connection,
)
from worker.http_transport.connections import cut_after
from worker.progress import Progress, StopWork
from worker.sources.errors import InputNotFoundError, InputUnreachableError
from worker.sources.http import content_encoding

_FIRST_PAUSE_S: Final = 0.125
_LONGEST_PAUSE_S: Final = 4.0
USEFUL_BYTES: Final = 2**16
"""A failed try that received fewer bytes brought the transfer no further."""

TimeoutS = tuple[float, float] | float | None
"""Seconds to connect and seconds without a byte, or one number for both.

None stands for the session's own limits.
"""


class ConnectionLost(Exception):  # noqa: N818 - not an error yet: another try may succeed
    """No answer came, or a connection ended before all of its answer was received.

    The message is the reason.
    """


def open_get(
    session: requests.Session,
    url: str,
    headers: Mapping[str, str],
    timeout_s: TimeoutS = None,
    *,
    query: Mapping[str, str] | None = None,
    follow_redirects: bool = True,
) -> requests.Response:
    """Return the answer to a GET, whatever its status, with its body still to be read.

    The body is without its content coding. Raises `ConnectionLost` when no answer came,
    `InputUnreachableError` where a certificate or a proxy is the cause, `InputNotFoundError` for a
    URL that cannot be requested, `UnknownCodingError`, and `OrderError("host_not_allowed")`.
    """
    try:
        response = session.get(
            url,
            params=query,
            headers=headers,
            stream=True,
            allow_redirects=follow_redirects,
            timeout=timeout_s,
        )
    except requests.Timeout:
        raise ConnectionLost("did not answer in time") from None
    except (ValueError, requests.TooManyRedirects):
        raise InputNotFoundError(
            f"{without_query(url)} is no URL to fetch from, or redirects to none"
        ) from None
    except (requests.RequestException, HTTPError, OSError) as error:
        raise _unanswered(error, url) from None
    content_encoding.decode(response)
    return response


def _unanswered(error: Exception, url: str) -> ConnectionLost | InputUnreachableError:
    failed_url = url
    request = getattr(error, "request", None)
    if request is not None:  # of a redirect, it is the one that failed
        failed_url = request.url
    fault = connection_fault(error, urlsplit(failed_url).hostname or "the host")
    if fault is None:
        return ConnectionLost("cannot be reached")
    # An operator must act: another try a moment later ends the same.
    return InputUnreachableError(f"{without_query(failed_url)}: {fault.detail}", hint=fault.hint)


def read_available(response: requests.Response, max_bytes: int = READ_BYTES) -> bytes:
    """Return what has arrived of a body, waiting for the first byte only; empty at the end.

    Raises `ConnectionLost`.
    """
    try:
        data: bytes = response.raw.read1(max_bytes)
    except DecodeError as error:
        raise ConnectionLost(str(error)) from None
    except (HTTPError, OSError):
        raise ConnectionLost("cut the connection or fell silent") from None
    return data


def read_body(
    response: requests.Response,
    max_bytes: int,
    deadline_s: float,
    stopped: Event | None = None,
) -> Generator[bytes, None, None]:
    """Yield a body as it arrives, at most `max_bytes` of it.

    Raises `ConnectionLost` when the connection is cut, falls silent, or takes longer than
    `deadline_s`; `StopWork` once `stopped` is set.
    """
    remaining_bytes = max_bytes
    with cut_after(deadline_s, response.raw.shutdown) as late:
        while remaining_bytes > 0:
            data = read_available(response)
            # A TLS connection that was shut down yields its raw records: check before the data.
            if stopped is not None and stopped.is_set():
                raise StopWork
            if late.is_set():
                raise ConnectionLost(f"took more than {deadline_s:g} s for one answer")
            if not data:
                return
            data = data[:remaining_bytes]
            remaining_bytes -= len(data)
            yield data


class Retries:
    """How many tries of one request failed in a row, and how long to pause before the next.

    A try that received 64 KiB or more was useful although it failed, so that the count starts
    again.
    """

    def __init__(self, max_failures: int) -> None:
        self._max_failures = max_failures
        self.failures = 0
        """Failed tries in a row."""

    def add_failure(self, received_bytes: int = 0) -> None:
        """Count a failed try, which received so many new bytes."""
        if received_bytes >= USEFUL_BYTES:
            self.failures = 0
        else:
            self.failures += 1

    @property
    def exhausted(self) -> bool:
        """Whether no other try may follow."""
        return self.failures >= self._max_failures

    def pause_s(self) -> float:
        """Return a random pause before the next try; its bounds double with each failure."""
        return backoff_s(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, self.failures)


class ParallelGets:
    """The GET requests that several threads make for one fetch.

    The thread that started them reports their progress; `stop` cuts all of their connections.
    `url_field`: where their URL stands in the order, for errors about it.
    """

    def __init__(self, session: requests.Session, progress: Progress, url_field: str = "") -> None:
        self._session = session
        self._progress = progress
        self._url_field = url_field
        self._stopped = Event()
        self._open_responses: set[requests.Response] = set()
        self._retries = 0
        self._reported_retries = 0

    @contextmanager
    def get(
        self, url: str, headers: Mapping[str, str], timeout_s: TimeoutS = None
    ) -> Iterator[requests.Response]:
        """Open an answer for the context.

        Raises what `open_get` raises, and `StopWork` after `stop`.
        """
        try:
            response = open_get(self._session, url, headers, timeout_s)
        except InputNotFoundError as error:
            error.field = self._url_field
            raise
        self._open_responses.add(response)
        try:
            with response:
                self._check_not_stopped()
                yield response
        finally:
            self._open_responses.discard(response)

    def read(
        self, response: requests.Response, max_bytes: int, deadline_s: float
    ) -> Generator[bytes, None, None]:
        """Yield the body as `read_body` does.

        Raises what that raises, and `StopWork` after `stop`.
        """
        return read_body(response, max_bytes, deadline_s, self._stopped)

    def pause(self, seconds: float) -> None:
        """Wait before a request is repeated. Raises `StopWork` when stopped meanwhile."""
        self._retries += 1
        self._stopped.wait(seconds)
        self._check_not_stopped()

    def report(self, received_bytes: int, total_bytes: int) -> None:
        """Report the bytes received so far, of `total_bytes` or 0 where unknown.

        Raises `StopWork`.
        """
        if self._reported_retries < self._retries:  # a sign of life while no bytes arrive
            self._reported_retries = self._retries
            self._progress.report("asking again", self._reported_retries, 0)
        self._progress.report("fetching", received_bytes, total_bytes)

    def stop(self) -> None:
        """End every request, those that wait for an answer included."""
        self._stopped.set()
        for response in list(self._open_responses):
            cut_connection(response)

    def _check_not_stopped(self) -> None:
        if self._stopped.is_set():
            raise StopWork
