"""Techcyte's external results API. It knows addresses, tokens and read-back; the body is `encode.techcyte`'s.

A post ends the task, and a second one makes a second evaluation (Techcyte/devkit, posting-external-model-results).
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from broker.errors import TemporaryError
from broker.orders.request import TechcyteDestination
from broker.settings.config import DeliverySettings
from worker.delivery.destinations.techcyte import payload
from worker.delivery.http_exchange import Check, HttpExchange, Reply, UnansweredError, always
from worker.delivery.payload import Payload, Receipt
from worker.http_session import is_retryable
from worker.results.result import Result

EVALUATIONS_MAX_BYTES = 16 * 2**20
"""All evaluations of a case come in one answer."""


@dataclass(frozen=True)
class Techcyte:
    """One task of one Techcyte."""

    request: TechcyteDestination
    http: requests.Session
    settings: DeliverySettings

    @property
    def host(self) -> str:
        """Host and port."""
        return urlsplit(self._url("")).netloc.rpartition("@")[2]

    def pack(self, results: Sequence[Result], path: Path) -> Payload:
        """Every scan in one body."""
        with path.open("wb") as file:
            payload.write(results, file)
        return Payload("application/json", path)

    def arrived(self, order_id: str) -> bool | None:
        """Whether an evaluation of the case holds the order's id: our results carry it, Techcyte gives it back.

        None where Techcyte will not say (no right to read). Raises `TemporaryError` where it cannot be asked now.
        """
        url = self._url(f"external/case_evaluations/{task_segment(self.request.task_id)}")
        try:
            headers = {"Authorization": f"Bearer {self._token()}".encode()}
            reply = self._line().ask("GET", url, headers, limit_bytes=EVALUATIONS_MAX_BYTES)
        except UnansweredError as silence:
            if silence.receipt.outcome == "refused":
                return None
            raise _ask_later(silence.receipt.detail, silence.receipt.retry_after_s) from None
        if is_retryable(reply.status):
            raise _ask_later(f"answered {reply.status} when asked what it has", None)
        evaluations = reply.json() if reply.status == 200 else None
        return _holds(evaluations, order_id) if isinstance(evaluations, list) else None

    def post(self, parcel: Payload, check: Check = always) -> Receipt:
        """Post all scans, which ends the task."""
        url = self._url(f"external/results/{task_segment(self.request.task_id)}")
        try:
            token = self._token()
            line = self._line(token)
            reply = line.send(url, parcel, {"Authorization": f"Bearer {token}".encode()}, check)
        except UnansweredError as silence:
            return silence.receipt
        return line.judge(reply)

    def _url(self, path: str) -> str:
        given = self.request.base_url
        base = given.get_secret_value().rstrip("/") if given else f"https://api.{self.request.host}"
        return f"{base}/api/v3/{path}"

    def _token(self) -> str:
        """The task's own token, or one for the API key. Raises `UnansweredError`."""
        if self.request.jwt_token:
            return self.request.jwt_token.get_secret_value()
        token = _access_token(self._exchange_key())
        if token is None:
            raise UnansweredError(
                Receipt("later", detail="the answer to the API key holds no access_token")
            )
        return token

    def _exchange_key(self) -> Reply:
        line, form = self._line(), {"grant_type": "client_credentials"}
        try:
            reply = line.ask(
                "POST", self._url("token"), {"Authorization": f"Basic {self._basic()}"}, form
            )
        except UnansweredError as silence:
            raise UnansweredError(_nothing_sent(silence.receipt)) from None
        receipt = line.judge(reply)
        if receipt.outcome != "accepted":
            raise UnansweredError(_nothing_sent(receipt))
        return reply

    def _basic(self) -> str:
        key_id, secret = self.request.api_key_id, self.request.api_key_secret
        pair = f"{key_id}:{secret.get_secret_value() if secret else ''}"
        return base64.b64encode(pair.encode()).decode()

    def _line(self, token: str = "") -> HttpExchange:
        secrets = (self.request.jwt_token, self.request.api_key_secret)
        hidden = [secret.get_secret_value() for secret in secrets if secret]
        return HttpExchange(self.http, self.settings, (token, self._basic(), *hidden))


def task_segment(task_id: str) -> str:
    """The task as a part of an address: the number where it is the base64 of `task:NUMBER`, else percent-encoded."""
    try:
        text = base64.b64decode(task_id, validate=True)
    except ValueError:
        text = b""
    found = re.fullmatch(rb"task:(\d+)", text)
    return found[1].decode() if found else quote(task_id, safe="")


def _nothing_sent(receipt: Receipt) -> Receipt:
    """The same for the token: whatever came of that request, the results had not been sent yet."""
    outcome = "later" if receipt.outcome == "unknown" else receipt.outcome
    return replace(receipt, outcome=outcome, detail=f"no token for the API key: {receipt.detail}")


def _access_token(reply: Reply) -> str | None:
    answer = reply.json()
    token = answer.get("access_token") if isinstance(answer, dict) else None
    return token if isinstance(token, str) and token else None


def _holds(document: Any, wanted: str) -> bool:
    """Whether a string anywhere in the JSON document is `wanted`."""
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        elif value == wanted:
            return True
    return False


def _ask_later(detail: str, retry_after_s: float | None) -> TemporaryError:
    return TemporaryError("destination_unreachable", detail, retry_after_s=retry_after_s)
