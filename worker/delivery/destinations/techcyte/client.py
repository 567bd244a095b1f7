"""Techcyte as a destination: the post of results, reading back what arrived, and what follows it.

A post ends the task, and a second one makes a second evaluation
(Techcyte/devkit, posting-external-model-results). The body is made in `payload.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final

import requests

from broker.errors import TemporaryError
from broker.orders.request import TechcyteDestination
from broker.secret_forms import secrets_of_url
from broker.settings.config import DeliverySettings
from worker.delivery.destinations.techcyte import payload as results_post
from worker.delivery.destinations.techcyte.api import Call, TechcyteApi
from worker.delivery.destinations.techcyte.evaluations import holds_results
from worker.delivery.destinations.techcyte.payload import PostOptions
from worker.delivery.destinations.techcyte.tokens import TokenCache
from worker.delivery.destinations.techcyte.triage import Summary, case_fields
from worker.delivery.http_exchange import (
    HttpExchange,
    SendCheck,
    UnansweredError,
    send_always,
)
from worker.delivery.payload import Payload, Receipt
from worker.http_session import is_retryable
from worker.results.json_text import strict_json
from worker.results.result import FailedScan, Result

EVALUATIONS_MAX_BYTES: Final = 16 * 2**20
"""All evaluations of a case come in one answer."""
_CREATED: Final = 201
_NO_CONTENT: Final = (b"", b"null")
"""Techcyte took the results only with 201 and one of these bodies."""
_CASE_CHANGED: Final = 204
_UPLOADED: Final = 200
_SIGNED_CONTENT_TYPE: Final = "content-type"


@dataclass(frozen=True)
class Techcyte:
    """One task of one Techcyte as the destination."""

    request: TechcyteDestination
    session: requests.Session
    settings: DeliverySettings
    tokens: TokenCache = field(default_factory=TokenCache)

    is_repeatable: ClassVar[bool] = False

    @property
    def host(self) -> str:
        """Return host and port of the API."""
        return self._api.host

    def build_payload(
        self, results: Sequence[Result], path: Path, failed: Sequence[FailedScan] = ()
    ) -> Payload:
        """Write one body with every scan.

        Raise `OrderError`: `parcel_invalid`, or `payload_too_large` above the bound of a post.
        """
        options = PostOptions.of(self.request, self.settings.techcyte)
        with path.open("wb") as file:
            results_post.write(results, file, failed, options)
        return Payload("application/json", path)

    def has_received(self, order_id: str) -> bool | None:
        """Return whether an evaluation of the task holds the order's id, which our results carry.

        Return None if Techcyte does not say, for lack of the right to read. Raise `TemporaryError`
        if it cannot be asked now, or if what answers is not Techcyte: a redirect, or no JSON.
        """
        path = self._api.task_path("case_evaluations")
        try:
            answer = self._api.send(Call("GET", path, limit_bytes=EVALUATIONS_MAX_BYTES))
        except UnansweredError as error:
            if error.receipt.outcome == "refused":
                return None
            raise _ask_later(error.receipt.detail, error.receipt.retry_after_s) from None
        reply = answer.reply
        if is_retryable(reply.status):
            raise _ask_later(f"answered {reply.status} when asked what it has", reply.retry_after_s)
        if reply.status >= 400 or len(reply.body) >= EVALUATIONS_MAX_BYTES:
            return None
        evaluations = reply.json()
        if reply.status != 200 or evaluations is None:
            kind = answer.exchange.excerpt(reply.content_type.encode())
            detail = f"answered {reply.status} {kind} when asked what it has"
            raise _ask_later(f"{detail}, and no list of evaluations", None)
        if not isinstance(evaluations, list):
            return None
        return holds_results(evaluations, self.request.task_id, order_id)

    def post(self, payload: Payload, check: SendCheck = send_always) -> Receipt:
        """Post all scans, which ends the task."""
        path = self._api.task_path("results")
        try:
            answer = self._api.send(Call("POST", path, payload, check=check))
        except UnansweredError as error:
            return error.receipt
        reply = answer.reply
        took_them = reply.status == _CREATED and reply.is_complete
        return answer.receipt(is_documented=took_them and reply.body.strip() in _NO_CONTENT)

    def set_triage(self, summaries: Sequence[Summary]) -> Receipt:
        """Set category and score of the case, which must have the results already.

        To repeat it changes nothing. `summaries` are those of the scans. Without anything to set
        nothing is sent.
        """
        try:
            fields = case_fields(self.request.triage, summaries)
        except ValueError as error:
            return Receipt("refused", detail=str(error))
        if not fields:
            return Receipt("accepted")
        call = Call("PATCH", self._api.task_path("case"), body=strict_json(fields))
        try:
            answer = self._api.send(call)
        except UnansweredError as error:
            return error.receipt
        return answer.receipt(is_documented=answer.reply.status == _CASE_CHANGED)

    def put_debug_file(self, file: Path) -> Receipt:
        """Put the zip where the task wants it, which is a presigned URL.

        It is signed already: with an Authorization header besides, S3 refuses it.
        """
        if self.request.debug_file_upload_url is None:
            return Receipt("accepted")
        url = self.request.debug_file_upload_url.get_secret_value()
        exchange = HttpExchange(self.session, self.settings, secrets_of_url(url))
        headers = {}
        if _SIGNED_CONTENT_TYPE in url.lower():
            headers["Content-Type"] = "application/zip"
        try:
            with file.open("rb") as content:
                reply = exchange.request("PUT", url, headers, content)
        except UnansweredError as error:
            return error.receipt
        return exchange.receipt_for(reply, is_documented=reply.status == _UPLOADED)

    @property
    def _api(self) -> TechcyteApi:
        return TechcyteApi(self.request, self.session, self.settings, self.tokens)


def _ask_later(detail: str, retry_after_s: float | None) -> TemporaryError:
    return TemporaryError("destination_unreachable", detail, retry_after_s=retry_after_s)
