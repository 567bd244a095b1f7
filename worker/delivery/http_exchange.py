"""One HTTP exchange with a destination and what its outcome means for results that were sent.

Every case is decided by one question: can the other side have taken the results?
If certainly not: `refused` or `later`. If it confirmed, in the way that is documented for it:
`accepted`. Otherwise: `unknown`, and nothing may be sent again before the destination was asked.
Secrets never reach a receipt.
"""

import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from broker.allowed_hosts import check_no_login
from broker.errors import OrderError
from broker.secret_forms import masked
from broker.settings.config import DeliverySettings
from worker.delivery.payload import Outcome, Payload, Receipt
from worker.http_session import (
    RETRYABLE_STATUSES,
    causes_of,
    connection_fault,
    read_body,
    retry_after_s,
)

REPLY_MAX_BYTES = 64 * 2**10
DETAIL_MAX_CHARS = 300
NOT_TAKEN_STATUSES = RETRYABLE_STATUSES | {500, 503}
"""Answers of a server that did not take the results and may take them later.

502 and 504 are not among them: what is behind the gateway may have taken the results.
"""
SECRET = re.compile(
    r"(?<=\?)[^\s\"'<>]+|(?<=[Bb]earer )\S+|(?<=[Bb]asic )\S+|eyJ[\w-]+\.[\w-]+\.[\w-]*"
    r"|(?<=sessionid=)[^\s\"'<>/?]+"
)
"""What may be a secret in any text: the query of a URL, a session in its path, credentials of a
header, a JWT."""

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

    `is_complete` is False if the body was too long, too slow, or cut off.
    """

    status: int
    body: bytes
    is_complete: bool
    content_type: str
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

    def post(
        self,
        url: str,
        payload: Payload,
        headers: Headers,
        check: SendCheck,
        limit_bytes: int = REPLY_MAX_BYTES,
    ) -> Reply:
        """POST the payload and return the answer; call `check` before each piece is sent.

        Raise `UnansweredError`, and what `check` raises.
        """
        # A file object, because the time limit counts for each piece that is sent; it would count
        # once for a body given as bytes.
        with _CheckedFile(payload.path, check) as body:
            headers = {**headers, "Content-Type": payload.content_type}
            try:
                return self._request("POST", url, headers, body, limit_bytes)
            except requests.RequestException as error:
                receipt = _receipt_without_answer(error, _host(url), was_sent=body.was_read)
                raise UnansweredError(receipt) from None

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
        try:
            return self._request(method, url, headers, data, limit_bytes)
        except requests.RequestException as error:
            receipt = _receipt_without_answer(error, _host(url), was_sent=True)
            raise UnansweredError(receipt) from None

    def _request(
        self,
        method: str,
        url: str,
        headers: Headers,
        data: Any,
        limit_bytes: int = REPLY_MAX_BYTES,
    ) -> Reply:
        """Return the answer. Raise `UnansweredError` for an address that is not allowed."""
        connect_s = self.settings.connect_timeout_s
        read_s = self.settings.read_timeout_s
        try:
            check_no_login(url)
            response = self.session.request(
                method,
                url,
                headers={**headers, "Connection": "close"},
                data=data,
                timeout=(connect_s, read_s),
                allow_redirects=False,
                stream=True,
            )
        except OrderError as error:
            detail = error.detail
            if error.hint:
                detail = f"{detail}; {error.hint}"
            raise UnansweredError(Receipt("refused", detail=detail)) from None
        with response:
            _close_after_response(response)
            body = read_body(response, limit_bytes, read_s)
            return Reply(
                status=response.status_code,
                body=body.content,
                is_complete=body.is_complete,
                content_type=response.headers.get("Content-Type", ""),
                retry_after_s=retry_after_s(response),
            )

    def receipt_for(self, reply: Reply, *, is_documented: bool) -> Receipt:
        """Return what an answer to results means.

        `is_documented`: whether it is the very answer by which this destination says that it took
        them. Any other 2xx may come from a proxy, a login page or a captive portal.
        """
        outcome = _outcome(reply.status)
        if outcome == "accepted" and is_documented:
            return Receipt(outcome, reply.status)
        if outcome == "accepted":
            return Receipt("unknown", reply.status, self._undocumented(reply))
        detail = f"answered {reply.status}: {self.excerpt(reply.body)}".rstrip(": ")
        if outcome == "later":
            return Receipt(outcome, reply.status, detail, reply.retry_after_s)
        return Receipt(outcome, reply.status, detail)

    def _undocumented(self, reply: Reply) -> str:
        said = f"answered {reply.status}"
        if reply.content_type:
            said += f" {self.excerpt(reply.content_type.encode())}"
        detail = f"{said}, which is not how it says that it has the results"
        return f"{detail}: {self.excerpt(reply.body)}".rstrip(": ")

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
        self.was_read = False
        """Whether any piece was handed out. Until then the other side has nothing of it."""

    def read(self, size: int | None = -1) -> bytes:
        """Return the next piece."""
        piece = super().read(size)
        if piece:  # at the end of the file everything was sent, and only the answer counts
            self._check()
            self.was_read = True
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


def _host(url: str) -> str:
    return urlsplit(url).hostname or "the destination"


def _receipt_without_answer(
    error: requests.RequestException, host: str, *, was_sent: bool
) -> Receipt:
    """Return what the lack of an answer means; `was_sent`: whether anything was sent.

    The text of the exception holds the URL with its query, so only class names are shown.
    """
    fault = connection_fault(error, host)
    if fault is not None:
        return Receipt("later", detail=f"{fault.detail}; {fault.hint}")
    *_, root = causes_of(error)
    cause = type(root).__name__
    if not isinstance(error, requests.ConnectionError | requests.Timeout):
        detail = f"the request to {host} cannot be made ({type(error).__name__})"
        return Receipt("refused", detail=detail)
    if not was_sent or _never_connected(error):
        return Receipt("later", detail=f"no connection to {host} ({cause})")
    return Receipt("unknown", detail=f"the request went to {host} and no answer came ({cause})")


def _never_connected(error: requests.RequestException) -> bool:
    not_connected = (NewConnectionError, ConnectTimeoutError)
    return any(isinstance(cause, not_connected) for cause in causes_of(error))
