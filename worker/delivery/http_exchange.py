"""One HTTP exchange with a destination and what it came to. It knows no protocol, and it never tells a secret.

The question that decides every case: can the other side have taken the results? Surely not: `refused` or `later`. It
said so: `accepted`. Otherwise `unknown`, and nothing may be sent again before the destination was asked.
"""

import io
import json
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError

from broker.errors import OrderError
from broker.settings.config import DeliverySettings
from worker.delivery.payload import Payload, Receipt
from worker.http_session import RETRYABLE_STATUSES, read_capped, retry_after_s

REPLY_MAX_BYTES = 64 * 2**10
DETAIL_MAX_CHARS = 300
LATER = RETRYABLE_STATUSES | {500, 503}
"""Answers that say: not taken, come again. A gateway's 502 and 504 do not: what is behind it may have taken it."""
SECRET = re.compile(
    r"(?<=\?)[^\s\"'<>]+|(?<=[Bb]earer )\S+|(?<=[Bb]asic )\S+|eyJ[\w-]+\.[\w-]+\.[\w-]*"
)
"""What may be a secret wherever it comes from: the query of a URL, a header's credentials, a JWT."""


Headers = Mapping[str, str | bytes]
Check = Callable[[], object]


def always() -> None:
    """The check that lets everything pass."""


class UnansweredError(Exception):
    """No answer came; `receipt` says what that means for results that were sent."""

    def __init__(self, receipt: Receipt) -> None:
        super().__init__(receipt.detail)
        self.receipt = receipt


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, its body cut at a limit. `whole` is False where the body is known to be short, or may be."""

    status: int
    body: bytes
    whole: bool
    retry_after_s: float | None

    def json(self) -> Any:
        """The body as JSON, None where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


@dataclass(frozen=True, slots=True)
class HttpExchange:
    """The way to one destination. `hidden` are the strings that its answers may repeat and nobody may read."""

    http: requests.Session
    settings: DeliverySettings
    hidden: tuple[str, ...]

    def send(self, url: str, parcel: Payload, headers: Headers, check: Check) -> Reply:
        """POST the parcel; `check` is called before each piece of it. Raises `UnansweredError`, and what it raises."""
        # A stream, because a time limit counts for each piece that is sent and would count once for all bytes.
        with _Body(parcel.path, check) as body:
            return self.ask("POST", url, {**headers, "Content-Type": parcel.content_type}, body)

    def ask(
        self,
        method: str,
        url: str,
        headers: Headers,
        data: Any = None,
        limit_bytes: int = REPLY_MAX_BYTES,
    ) -> Reply:
        """Any request; a redirect is an answer and not followed. Raises `UnansweredError`."""
        read_s = self.settings.read_timeout_s
        how: dict[str, Any] = {
            "timeout": (self.settings.connect_timeout_s, read_s),
            "allow_redirects": False,
        }
        headers = {**headers, "Connection": "close"}
        try:
            with self.http.request(
                method, url, headers=headers, data=data, stream=True, **how
            ) as response:
                _use_once(response)
                body = read_capped(response, limit_bytes, read_s)
                whole = response.headers.get("Content-Length") == str(len(body))
                return Reply(response.status_code, body, whole, retry_after_s(response))
        except OrderError as error:
            raise UnansweredError(Receipt("refused", detail=error.detail)) from None
        except requests.RequestException as error:
            raise UnansweredError(
                _silence(error, urlsplit(url).hostname or "the destination")
            ) from None

    def judge(self, reply: Reply) -> Receipt:
        """What an answer means by its status alone."""
        outcome = _outcome(reply.status)
        detail = (
            ""
            if outcome == "accepted"
            else f"answered {reply.status}: {self.shown(reply.body)}".rstrip(": ")
        )
        wait_s = reply.retry_after_s if outcome == "later" else None
        return Receipt(outcome, reply.status, detail, wait_s)

    def shown(self, body: bytes) -> str:
        """The start of what the other side said, on one line, without secrets."""
        said = body.decode("utf-8", "replace")
        for secret in filter(None, self.hidden):
            said = said.replace(secret, "…")
        said = SECRET.sub("…", said)
        return " ".join("".join(c if c.isprintable() else " " for c in said).split())[
            :DETAIL_MAX_CHARS
        ]


class _Body(io.FileIO):
    """A body that asks, as each piece is about to go out, whether it still may: its sender may have slept meanwhile."""

    def __init__(self, path: Path, check: Check) -> None:
        super().__init__(path)
        self._check = check

    def read(self, size: int | None = -1) -> bytes:
        """The next piece."""
        piece = super().read(size)
        if piece:  # at the end everything is sent, and only the answer counts
            self._check()
        return piece


def _use_once(response: requests.Response) -> None:
    """Take the socket from its connection: the body can be read to its end, and the pool gets nothing to use again.

    A kept connection may be ended by the server just as the next request goes out, which looks like a lost answer; and
    servers that close after every answer do not always say so.
    """
    connection = response.raw.connection
    if connection is not None and connection.sock is not None:
        connection.sock.close()
        connection.sock = None


def _outcome(status: int) -> Literal["accepted", "refused", "later", "unknown"]:
    if 200 <= status < 300:
        return "accepted"
    if status in LATER:
        return "later"
    return "refused" if status < 500 else "unknown"


def _silence(error: requests.RequestException, host: str) -> Receipt:
    """What the lack of an answer means. The error's own text has the URL in it and goes no further."""
    if _never_connected(error):
        return Receipt("later", detail=f"no connection to {host} ({_root(error)})")
    if isinstance(error, requests.ConnectionError | requests.Timeout):
        return Receipt(
            "unknown", detail=f"the request went to {host} and no answer came ({_root(error)})"
        )
    return Receipt(
        "refused", detail=f"the request to {host} cannot be made ({type(error).__name__})"
    )


def _never_connected(error: requests.RequestException) -> bool:
    reasons = list(_reasons(error))
    refused = (NewConnectionError, ConnectTimeoutError, ssl.SSLCertVerificationError)
    return isinstance(error, requests.ConnectTimeout) or any(
        isinstance(reason, refused) for reason in reasons
    )


def _root(error: requests.RequestException) -> str:
    *_, last = (type(error).__name__, *(type(reason).__name__ for reason in _reasons(error)))
    return last


def _reasons(error: BaseException) -> Iterator[BaseException]:
    """The faults that requests and urllib3 packed into one another, outermost first."""
    inner: BaseException | None = error.reason if isinstance(error, MaxRetryError) else None
    inner = inner or next((part for part in error.args if isinstance(part, BaseException)), None)
    if inner is not None:
        yield inner
        yield from _reasons(inner)
