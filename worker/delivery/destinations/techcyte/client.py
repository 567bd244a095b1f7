"""Techcyte's external results API: addresses, tokens, the post, and reading back what arrived.

A post ends the task, and a second one makes a second evaluation
(Techcyte/devkit, posting-external-model-results). The body is made in `payload.py`.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

import requests

from broker.errors import TemporaryError
from broker.orders.request import TechcyteDestination
from broker.secret_forms import secrets_of_url
from broker.settings.config import DeliverySettings
from worker.delivery.destinations.techcyte import payload as results_post
from worker.delivery.http_exchange import (
    Headers,
    HttpExchange,
    Reply,
    SendCheck,
    UnansweredError,
    send_always,
)
from worker.delivery.payload import Payload, Receipt
from worker.http_session import is_retryable
from worker.results.result import FailedScan, Result

EVALUATIONS_MAX_BYTES = 16 * 2**20
"""All evaluations of a case come in one answer."""
CREATED = 201
NO_CONTENT = (b"", b"null")
"""Techcyte took the results only with 201 and one of these bodies."""
_TOKEN_MADE = 200


@dataclass(frozen=True)
class Techcyte:
    """One task of one Techcyte as the destination."""

    request: TechcyteDestination
    session: requests.Session
    settings: DeliverySettings

    is_repeatable: ClassVar[bool] = False

    @property
    def host(self) -> str:
        """Return host and port of the API."""
        return urlsplit(self._url("")).netloc.rpartition("@")[2]

    def build_payload(
        self, results: Sequence[Result], path: Path, failed: Sequence[FailedScan] = ()
    ) -> Payload:
        """Write one body with every scan."""
        with path.open("wb") as file:
            has_case_results = bool(self.request.case_results)
            results_post.write(results, file, failed, has_case_results=has_case_results)
        return Payload("application/json", path)

    def has_received(self, order_id: str) -> bool | None:
        """Return whether an evaluation of the case holds the order's id, which our results carry.

        Return None if Techcyte does not say, for lack of the right to read. Raise `TemporaryError`
        if it cannot be asked now, or if what answers is not Techcyte: a redirect, or no JSON.
        """
        url = self._url(f"external/case_evaluations/{task_segment(self.request.task_id)}")
        exchange = self._exchange()
        try:
            headers = _bearer(self._token())
            reply = exchange.request("GET", url, headers, limit_bytes=EVALUATIONS_MAX_BYTES)
        except UnansweredError as error:
            if error.receipt.outcome == "refused":
                return None
            raise _ask_later(error.receipt.detail, error.receipt.retry_after_s) from None
        if is_retryable(reply.status):
            raise _ask_later(f"answered {reply.status} when asked what it has", reply.retry_after_s)
        if reply.status >= 400 or len(reply.body) >= EVALUATIONS_MAX_BYTES:
            return None
        evaluations = reply.json()
        if reply.status != 200 or evaluations is None:
            kind = exchange.excerpt(reply.content_type.encode())
            detail = f"answered {reply.status} {kind} when asked what it has"
            raise _ask_later(f"{detail}, and no list of evaluations", None)
        if not isinstance(evaluations, list):
            return None
        return _contains_string(evaluations, order_id)

    def post(self, payload: Payload, check: SendCheck = send_always) -> Receipt:
        """Post all scans, which ends the task."""
        url = self._url(f"external/results/{task_segment(self.request.task_id)}")
        try:
            token = self._token()
            exchange = self._exchange(token)
            reply = exchange.post(url, payload, _bearer(token), check)
        except UnansweredError as error:
            return error.receipt
        took_them = reply.status == CREATED and reply.is_complete
        is_documented = took_them and reply.body.strip() in NO_CONTENT
        return exchange.receipt_for(reply, is_documented=is_documented)

    def _url(self, path: str) -> str:
        return f"{self._base_url()}/api/v3/{path}"

    def _base_url(self) -> str:
        if self.request.base_url:
            given = self.request.base_url.get_secret_value().rstrip("/")
            # Techcyte's own documents name the address with it.
            return given.removesuffix("/api/v3").rstrip("/")
        return f"https://api.{self.request.host}"

    def _token(self) -> str:
        """Return the task's own token, or one for the API key. Raise `UnansweredError`."""
        if self.request.jwt_token:
            return self.request.jwt_token.get_secret_value()
        token = _access_token(self._exchange_key())
        if token is None:
            detail = "the answer to the API key holds no access_token"
            raise UnansweredError(Receipt("later", detail=detail))
        return token

    def _exchange_key(self) -> Reply:
        exchange = self._exchange()
        headers = {"Authorization": f"Basic {self._basic_credentials()}"}
        form = {"grant_type": "client_credentials"}
        try:
            reply = exchange.request("POST", self._url("token"), headers, form)
        except UnansweredError as error:
            raise UnansweredError(_token_receipt(error.receipt)) from None
        receipt = exchange.receipt_for(reply, is_documented=reply.status == _TOKEN_MADE)
        if receipt.outcome != "accepted":
            raise UnansweredError(_token_receipt(receipt))
        return reply

    def _basic_credentials(self) -> str:
        secret = ""
        if self.request.api_key_secret:
            secret = self.request.api_key_secret.get_secret_value()
        return base64.b64encode(f"{self.request.api_key_id}:{secret}".encode()).decode()

    def _exchange(self, token: str = "") -> HttpExchange:
        secrets = [token, self._basic_credentials()]
        if self.request.jwt_token:
            secrets.append(self.request.jwt_token.get_secret_value())
        if self.request.api_key_secret:
            secrets.append(self.request.api_key_secret.get_secret_value())
        secrets += secrets_of_url(self._url(""))
        return HttpExchange(self.session, self.settings, tuple(secrets))


def task_segment(task_id: str) -> str:
    """Return the task as one segment of a URL's path.

    It is the number if the id is the base64 of `task:NUMBER`, else the id percent-encoded.
    """
    try:
        text = base64.b64decode(task_id, validate=True)
    except ValueError:
        text = b""
    match = re.fullmatch(rb"task:(\d+)", text)
    if match:
        return match[1].decode()
    return quote(task_id, safe="")


def _bearer(token: str) -> Headers:
    return {"Authorization": f"Bearer {token}".encode()}


def _token_receipt(receipt: Receipt) -> Receipt:
    """Return the receipt of a failed token request: no results were sent, so none are unknown."""
    detail = f"no token for the API key: {receipt.detail}"
    if receipt.outcome == "unknown":
        return replace(receipt, outcome="later", detail=detail)
    return replace(receipt, detail=detail)


def _access_token(reply: Reply) -> str | None:
    answer = reply.json()
    if not isinstance(answer, dict):
        return None
    token = answer.get("access_token")
    if not isinstance(token, str) or not token:
        return None
    return token


def _contains_string(document: Any, text: str) -> bool:
    """Return whether any value in the JSON document is the string `text`."""
    to_visit = [document]
    while to_visit:
        value = to_visit.pop()
        if isinstance(value, dict):
            to_visit.extend(value.values())
        elif isinstance(value, list):
            to_visit.extend(value)
        elif value == text:
            return True
    return False


def _ask_later(detail: str, retry_after_s: float | None) -> TemporaryError:
    return TemporaryError("destination_unreachable", detail, retry_after_s=retry_after_s)
