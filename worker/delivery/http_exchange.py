"""One HTTP exchange with a destination and what its outcome means for results that were sent.

Every case is decided by one question: can the other side have taken the results?
If certainly not: `refused` or `later`. If it confirmed: `accepted`. Otherwise: `unknown`, and
nothing may be sent again before the destination was asked. Secrets never reach a receipt.
"""

import io
import json
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError

from broker.errors import OrderError
from broker.secret_forms import masked
from broker.settings.config import DeliverySettings
from worker.delivery.payload import Outcome, Payload, Receipt
from worker.http_session import RETRYABLE_STATUSES, read_capped, retry_after_s

REPLY_MAX_BYTES = 64 * 2**10
DETAIL_MAX_CHARS = 300
NOT_TAKEN_STATUSES = RETRYABLE_STATUSES | {500, 503}
"""Answers of a server that did not take the results and may take them later.

502 and 504 are not among them: what is behind the gateway may have taken the results.
"""
SECRET = re.compile(
    r"(?<=\?)[^\s\"'<>]+|(?<=[Bb]earer )\S+|(?<=[Bb]asic )\S+|eyJ[\w-]+\.[\w-]+\.[\w-]*"
)
"""What may be a secret in any text: the query of a URL, credentials of a header, a JWT."""

Headers = Mapping[str, str | bytes]
SendCheck = Callable[[], object]


def send_always() -> None:
    """Let every piece of the payload be sent."""


class UnansweredError(Exception):
    """No answer came; `receipt` holds what that means for results that were sent."""

    def __init__(self, receipt: Receipt) -> None:
        super().__init__(receipt.detail)
        self.receipt = receipt


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with at most a limited part of its body.

    `is_complete` is False if the body is known to be cut off, or may be.
    """

    status: int
    body: bytes
    is_complete: bool
    retry_after_s: float | None

    def json(self) -> Any:
        """Return the body as JSON, or None if it is not JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


@dataclass(frozen=True, slots=True)
class HttpExchange:
    """HTTP requests to one destination.

    `secrets` are strings that an answer may repeat and that must not be shown.
    """

    session: requests.Session
    settings: DeliverySettings
    secrets: tuple[str, ...]

    def post(self, url: str, payload: Payload, headers: Headers, check: SendCheck) -> Reply:
        """POST the payload and return the answer; call `check` before each piece is sent.

        Raise `UnansweredError`, and what `check` raises.
        """
        # A file object, because the time limit counts for each piece that is sent; it would count
        # once for a body given as bytes.
        with _CheckedFile(payload.path, check) as body:
            headers = {**headers, "Content-Type": payload.content_type}
            return self.request("POST", url, headers, body)

    def request(
        self,
        method: str,
        url: str,
        headers: Headers,
        data: Any = None,
        limit_bytes: int = REPLY_MAX_BYTES,
    ) -> Reply:
        """Send any request and return the answer; a redirect is not followed.

        Raise `UnansweredError` if no answer came.
        """
        connect_s = self.settings.connect_timeout_s
        read_s = self.settings.read_timeout_s
        try:
            response = self.session.request(
                method,
                url,
                headers={**headers, "Connection": "close"},
                data=data,
                timeout=(connect_s, read_s),
                allow_redirects=False,
                stream=True,
            )
            with response:
                _close_after_response(response)
                body = read_capped(response, limit_bytes, read_s)
                is_complete = response.headers.get("Content-Length") == str(len(body))
                return Reply(response.status_code, body, is_complete, retry_after_s(response))
        except OrderError as error:
            raise UnansweredError(Receipt("refused", detail=error.detail)) from None
        except requests.RequestException as error:
            host = urlsplit(url).hostname or "the destination"
            raise UnansweredError(_receipt_without_answer(error, host)) from None

    def receipt_for(self, reply: Reply) -> Receipt:
        """Return what the answer's status means."""
        outcome = _outcome(reply.status)
        if outcome == "accepted":
            return Receipt(outcome, reply.status)
        detail = f"answered {reply.status}: {self.excerpt(reply.body)}".rstrip(": ")
        if outcome == "later":
            return Receipt(outcome, reply.status, detail, reply.retry_after_s)
        return Receipt(outcome, reply.status, detail)

    def excerpt(self, body: bytes) -> str:
        """Return the start of a body as printable text on one line, without secrets."""
        text = masked(body.decode("utf-8", "replace"), self.secrets)
        text = SECRET.sub("…", text)
        printable = "".join(char if char.isprintable() else " " for char in text)
        return " ".join(printable.split())[:DETAIL_MAX_CHARS]


class _CheckedFile(io.FileIO):
    """A request body that calls `check` before each piece is sent.

    The process may have been suspended since the last piece, and the work may be another's by now.
    """

    def __init__(self, path: Path, check: SendCheck) -> None:
        super().__init__(path)
        self._check = check

    def read(self, size: int | None = -1) -> bytes:
        """Return the next piece."""
        piece = super().read(size)
        if piece:  # at the end of the file everything was sent, and only the answer counts
            self._check()
        return piece


def _close_after_response(response: requests.Response) -> None:
    """Detach the socket from its connection, so that the pool cannot use it again.

    The body can still be read to its end. A reused connection may be closed by the server just as
    the next request is sent, which looks like a lost answer; and servers that close after every
    answer do not always announce it.
    """
    connection = response.raw.connection
    if connection is not None and connection.sock is not None:
        connection.sock.close()
        connection.sock = None


def _outcome(status: int) -> Outcome:
    if 200 <= status < 300:
        return "accepted"
    if status in NOT_TAKEN_STATUSES:
        return "later"
    if status < 500:
        return "refused"
    return "unknown"


def _receipt_without_answer(error: requests.RequestException, host: str) -> Receipt:
    """Return what the lack of an answer means.

    The text of the exception holds the URL with its query, so only class names are shown.
    """
    if _never_connected(error):
        return Receipt("later", detail=f"no connection to {host} ({_root_cause(error)})")
    if isinstance(error, requests.ConnectionError | requests.Timeout):
        cause = _root_cause(error)
        return Receipt("unknown", detail=f"the request went to {host} and no answer came ({cause})")
    detail = f"the request to {host} cannot be made ({type(error).__name__})"
    return Receipt("refused", detail=detail)


def _never_connected(error: requests.RequestException) -> bool:
    if isinstance(error, requests.ConnectTimeout):
        return True
    not_connected = (NewConnectionError, ConnectTimeoutError, ssl.SSLCertVerificationError)
    return any(isinstance(cause, not_connected) for cause in _causes(error))


def _root_cause(error: requests.RequestException) -> str:
    """Return the class name of the innermost exception."""
    root: BaseException = error
    for cause in _causes(error):
        root = cause
    return type(root).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions that requests and urllib3 wrapped into one another, outermost first."""
    cause = _cause(error)
    while cause is not None:
        yield cause
        cause = _cause(cause)


def _cause(error: BaseException) -> BaseException | None:
    if isinstance(error, MaxRetryError) and error.reason is not None:
        return error.reason
    for argument in error.args:
        if isinstance(argument, BaseException):
            return argument
    return None
