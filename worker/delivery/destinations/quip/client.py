"""Upload a QuIP zip to a loader of caMicroscope's DynamicServices as a multipart form.

Source: camicroscope/uAIMDataLoader, `routes/index.js`, `POST /submitZipOrder`.
The zip itself is made in `archive.py`.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import requests
from urllib3.filepost import encode_multipart_formdata

from broker.orders.request import AnnotationDestination
from broker.secret_forms import masked, secrets_of_url
from broker.settings.config import DeliverySettings
from worker.delivery.destinations.quip import archive
from worker.delivery.http_exchange import (
    HttpExchange,
    Reply,
    SendCheck,
    UnansweredError,
    send_always,
)
from worker.delivery.payload import Payload, Receipt
from worker.results.result import FailedScan, Result

_QUEUED = 200
"""The status with which the loader tells of a job in its queue."""


@dataclass(frozen=True)
class AnnotationLoader:
    """One loader as the destination of one case."""

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
        """Write the multipart form with the case and one zip of all scans."""
        with tempfile.TemporaryFile(dir=path.parent) as zip_file, path.open("wb") as file:
            archive.write(results, self.request.case_id, zip_file, failed)
            zip_file.seek(0)
            # The digest is the boundary, so that the same zip gives the same form.
            boundary = hashlib.file_digest(zip_file, "sha256").hexdigest()
            # The form is encoded with the boundary in place of the zip, and split there: the zip
            # may be too large for memory.
            fields: dict[str, Any] = {
                "case_id": self.request.case_id,
                "zip": ("output.zip", boundary, "application/zip"),
            }
            form, content_type = encode_multipart_formdata(fields, boundary)
            before, _, after = form.rpartition(boundary.encode() + b"\r\n--")
            zip_file.seek(0)
            file.write(before)
            shutil.copyfileobj(zip_file, file)
            file.write(b"\r\n--" + after)
        return Payload(content_type, path)

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
        return _receipt(reply, exchange)


def _receipt(reply: Reply, exchange: HttpExchange) -> Receipt:
    """Return what the loader's answer means.

    It took the form only if it answers 200 with a job and its id. It also answers 200 to a form of
    which it made no job; that answer is a JSON object too.
    """
    answer = reply.json()
    job_id = _job_id(answer)
    if reply.status == _QUEUED and isinstance(answer, dict) and not job_id:
        detail = f"the loader did not queue it: {exchange.excerpt(reply.body)}"
        return Receipt("refused", reply.status, detail)
    is_documented = reply.status == _QUEUED and bool(job_id)
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
