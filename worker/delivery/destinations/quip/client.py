"""Upload a QuIP zip or a mask to a loader of caMicroscope's DynamicServices.

The loader only queues what it gets. Its importer can be asked for the job by the id that the
loader's answer has; without an answer nobody can be asked. The forms are made in `form.py`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

import requests

from broker.orders.destinations import JOB_ID, AnnotationDestination
from broker.secret_forms import masked, secrets_of_url
from broker.settings.config import DeliverySettings
from worker.delivery.destinations.quip import form
from worker.delivery.destinations.quip.archive import Names
from worker.delivery.http_exchange import (
    HttpExchange,
    Reply,
    SendCheck,
    UnansweredError,
    send_always,
)
from worker.delivery.payload import Payload, Receipt
from worker.http_session import is_retryable
from worker.results.result import FailedScan, Result

_JOB_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What may stand in the address of a job. Anything else could make it another address."""
_OK: Final = 200
"""The status with which loader and importer tell of a job."""
_JOB_MAX_BYTES: Final = 4 * 2**20
"""A job holds its data and a log of errors."""


@dataclass(frozen=True)
class AnnotationLoader:
    """One loader as the destination of one case; with `confirm_url` its importer is asked."""

    request: AnnotationDestination
    session: requests.Session
    settings: DeliverySettings

    is_repeatable: ClassVar[bool] = False

    @property
    def host(self) -> str:
        """Return host and port of the loader."""
        return urlsplit(self.request.url.get_secret_value()).netloc.rpartition("@")[2]

    def build_payload(
        self, results: Sequence[Result], path: Path, failed: Sequence[FailedScan] = ()
    ) -> Payload:
        """Write the multipart form: one zip of all scans, or the mask of the only one."""
        request = self.request
        names = Names(
            request.case_id, request.subject_id or request.case_id, request.execution_id or ""
        )
        if request.takes_a_mask:
            return form.write_mask(results, names, path)
        return form.write_zip(results, names, path, failed)

    def has_received(self, order_id: str) -> None:
        """Return None: the loader offers no way to ask."""

    def post(self, payload: Payload, check: SendCheck = send_always) -> Receipt:
        """Upload the form and return what the loader said."""
        url = self.request.url.get_secret_value()
        exchange = HttpExchange(self.session, self.settings, secrets_of_url(url))
        try:
            reply = exchange.post(url, payload, {}, check)
        except UnansweredError as error:
            return error.receipt
        receipt = _receipt(reply, exchange)
        if receipt.outcome != "accepted" or not self.request.confirm_url:
            return receipt
        if not _JOB_ID.fullmatch(receipt.remote_id):
            detail = "the id of its job is none that its importer could be asked for"
            return replace(receipt, outcome="unknown", detail=detail)
        detail = f"queued as job {receipt.remote_id}, which is not imported yet"
        return replace(receipt, outcome="queued", detail=detail)

    def import_outcome(self, job_id: str) -> Receipt:
        """Ask the importer what became of the job that the loader made of the form."""
        address = ""
        if self.request.confirm_url:
            address = self.request.confirm_url.get_secret_value()
        url = address.replace(JOB_ID, job_id)
        exchange = HttpExchange(self.session, self.settings, secrets_of_url(address))
        try:
            reply = exchange.request("GET", url, {}, limit_bytes=_JOB_MAX_BYTES)
        except UnansweredError as error:
            return Receipt("later", detail=f"asked for job {job_id}: {error.receipt.detail}")
        return _job_outcome(job_id, reply, exchange)


def _job_outcome(job_id: str, reply: Reply, exchange: HttpExchange) -> Receipt:
    """Return what the importer says of a job, as Kue does over HTTP.

    Of a job that it does not have, Kue says so with 200 and an `error`.
    """
    job = reply.json()
    state = ""
    if isinstance(job, dict) and isinstance(job.get("state"), str):
        # DynamicServices writes the word with quotation marks around it
        state = job["state"].strip('"')
    if reply.status == _OK and state == "complete":
        return Receipt("accepted", reply.status)
    if reply.status == _OK and state == "failed":
        error = exchange.excerpt(str(job.get("error", "")).encode())
        detail = f"the importer failed at job {job_id}: {error}".rstrip(": ")
        return Receipt("refused", reply.status, detail)
    if reply.status == _OK and state:
        shown = exchange.excerpt(state.encode())
        return Receipt("later", reply.status, f"job {job_id} is {shown}")
    says_none = isinstance(job, dict) and "error" in job
    is_no = 400 <= reply.status < 500 and not is_retryable(reply.status)
    detail = f"asked for job {job_id}: answered {reply.status}: {exchange.excerpt(reply.body)}"
    if is_no or (reply.status == _OK and says_none):
        return Receipt("unknown", reply.status, detail)
    return Receipt("later", reply.status, detail)


def _receipt(reply: Reply, exchange: HttpExchange) -> Receipt:
    """Return what the loader's answer means.

    It took the form only if it answers 200 with a job and its id. It also answers 200 to a form of
    which it made no job; that answer is a JSON object too.
    """
    answer = reply.json()
    job_id = _job_id(answer)
    if reply.status == _OK and isinstance(answer, dict) and not job_id:
        detail = f"the loader did not queue it: {exchange.excerpt(reply.body)}"
        return Receipt("refused", reply.status, detail)
    is_documented = reply.status == _OK and bool(job_id)
    receipt = exchange.receipt_for(reply, is_documented=is_documented)
    if receipt.outcome != "accepted":
        return receipt
    return replace(receipt, remote_id=masked(job_id, exchange.secrets))


def _job_id(answer: Any) -> str:
    """Return the id of the loader's job; empty if it made none: `Job` and an id must be there."""
    if not isinstance(answer, dict) or not isinstance(answer.get("Job"), dict):
        return ""
    number = answer.get("id", answer["Job"].get("id"))
    if not isinstance(number, int | str):
        return ""
    return str(number)[:64]
