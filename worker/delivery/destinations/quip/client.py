"""Loaders of caMicroscope's DynamicServices: a QuIP zip by multipart. The zip itself is `encode.quip`'s.

Source: camicroscope/uAIMDataLoader, `routes/index.js`, `POST /submitZipOrder`.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.filepost import encode_multipart_formdata

from broker.orders.request import AnnotationDestination
from broker.settings.config import DeliverySettings
from worker.delivery.destinations.quip import archive
from worker.delivery.http_exchange import Check, HttpExchange, UnansweredError, always
from worker.delivery.payload import Payload, Receipt
from worker.results.result import Result


@dataclass(frozen=True)
class Annotation:
    """One loader."""

    request: AnnotationDestination
    http: requests.Session
    settings: DeliverySettings

    @property
    def host(self) -> str:
        """Host and port."""
        return urlsplit(self.request.url.get_secret_value()).netloc.rpartition("@")[2]

    def pack(self, results: Sequence[Result], path: Path) -> Payload:
        """The multipart form with the case and one zip of all scans."""
        with tempfile.TemporaryFile(dir=path.parent) as zip_file, path.open("wb") as file:
            archive.write(results, self.request.case_id, zip_file)
            zip_file.seek(0)
            boundary = hashlib.file_digest(
                zip_file, "sha256"
            ).hexdigest()  # the same zip is the same form
            fields: dict[str, Any] = {
                "case_id": self.request.case_id,
                "zip": ("output.zip", boundary, "application/zip"),
            }
            form, content_type = encode_multipart_formdata(fields, boundary)
            head, _, tail = form.rpartition(
                boundary.encode() + b"\r\n--"
            )  # where the zip's digest stands for it
            zip_file.seek(0)
            file.write(head)
            shutil.copyfileobj(zip_file, file)
            file.write(b"\r\n--" + tail)
        return Payload(content_type, path)

    def arrived(self, order_id: str) -> None:
        """None: the loader keeps no list that can be asked."""

    def post(self, parcel: Payload, check: Check = always) -> Receipt:
        """Hand the form to the loader; only a job in its own queue means that it took it."""
        url = self.request.url.get_secret_value()
        parts = urlsplit(url)
        line = HttpExchange(self.http, self.settings, (parts.query, parts.password or ""))
        try:
            reply = line.send(url, parcel, {}, check)
        except UnansweredError as silence:
            return silence.receipt
        receipt = line.judge(reply)
        if receipt.outcome != "accepted":
            return receipt
        answer = reply.json()
        if answer is None and not reply.whole:
            return replace(receipt, outcome="unknown", detail="the loader's answer was cut off")
        job = _job(answer)
        if not job:
            return replace(
                receipt,
                outcome="refused",
                detail=f"the loader did not queue it: {line.shown(reply.body)}",
            )
        return replace(receipt, remote_id=job)


def _job(answer: Any) -> str:
    """The id of the loader's job; empty where it made none. Both are asked for, as a 200 alone says nothing."""
    if not isinstance(answer, dict) or not isinstance(answer.get("Job"), dict):
        return ""
    number = answer.get("id", answer["Job"].get("id"))
    return str(number)[:64] if isinstance(number, int | str) else ""
