"""Call an address when an order's results are there: a summary and links, not the objects.

By Standard Webhooks 1.0 (standard-webhooks/standard-webhooks, `spec/standard-webhooks.md`). The id
of the message is the same for every attempt, so a receiver recognises a repetition: an answer that
was lost is simply asked for again.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

import requests

from broker.orders.request import WebhookDestination
from broker.orders.result_files import FEATURES, OBJECTS_CSV, OVERLAY, RESULTS_JSON
from broker.secret_forms import secrets_of_url
from broker.settings.config import DeliverySettings
from worker.delivery.destinations.webhook.signature import signature_header
from worker.delivery.http_exchange import (
    HttpExchange,
    Reply,
    SendCheck,
    UnansweredError,
    send_always,
)
from worker.delivery.payload import Payload, Receipt
from worker.http_session import product_version
from worker.results.json_text import strict_json
from worker.results.result import FailedScan, Result

MAX_BODY_BYTES: Final = 20_000
"""What the specification advises a body to stay below."""
_EVENT: Final = "order.delivered"
_LINKED: Final = (RESULTS_JSON, FEATURES, OBJECTS_CSV, OVERLAY)
_GONE: Final = 410
_PAGE_STARTS: Final = (b"<!doctype html", b"<html")


@dataclass(frozen=True)
class Webhook:
    """One address as the destination of one order."""

    order_id: str
    labels: Mapping[str, str]
    request: WebhookDestination
    session: requests.Session
    settings: DeliverySettings

    is_repeatable: ClassVar[bool] = True

    @property
    def host(self) -> str:
        """Return host and port of the address."""
        return urlsplit(self.request.url.get_secret_value()).netloc.rpartition("@")[2]

    @property
    def message_id(self) -> str:
        """Return `webhook-id`, made of order and event: the same for every attempt."""
        return f"{self.order_id}_{_EVENT.replace('.', '_')}"

    def build_payload(
        self, results: Sequence[Result], path: Path, failed: Sequence[FailedScan] = ()
    ) -> Payload:
        """Write the event; summaries are left out where they would make it too long."""
        scans = [self._scan(result) for result in results]
        body = self._body(results, scans, failed)
        if len(body) > MAX_BODY_BYTES:
            short = [{"id": scan["id"], "links": scan["links"]} for scan in scans]
            body = self._body(results, short, failed)
        if len(body) > MAX_BODY_BYTES:
            body = self._body(results, [{"id": scan["id"]} for scan in scans], ())
        path.write_bytes(body)
        return Payload("application/json", path)

    def has_received(self, order_id: str) -> None:
        """Return None: nobody can be asked, and nobody needs to be."""

    def post(self, payload: Payload, check: SendCheck = send_always) -> Receipt:
        """Call the address once, signed with the time of this attempt."""
        url = self.request.url.get_secret_value()
        body = payload.path.read_bytes()
        timestamp_s = int(time.time())
        headers = {
            "User-Agent": f"Slidelane/{product_version()}",
            "webhook-id": self.message_id,
            "webhook-timestamp": str(timestamp_s),
            "webhook-signature": signature_header(
                self.request.secrets, self.message_id, timestamp_s, body
            ),
        }
        exchange = HttpExchange(self.session, self.settings, secrets_of_url(url))
        try:
            reply = exchange.post(url, payload, headers, check)
        except UnansweredError as error:
            return _tried_again(error.receipt)
        return _receipt(reply, exchange)

    def _scan(self, result: Result) -> dict[str, Any]:
        findings = result.findings
        path = f"/v1/orders/{self.order_id}/scans/{result.scan_id}"
        return {
            "id": result.scan_id,
            "summary": findings.summary | {"headline": findings.headline},
            "warnings": [warning.model_dump() for warning in result.warnings],
            "links": {name: f"{path}/{name}" for name in _LINKED},
        }

    def _body(
        self,
        results: Sequence[Result],
        scans: Sequence[Mapping[str, Any]],
        failed: Sequence[FailedScan],
    ) -> bytes:
        # The time of the event and not of the attempt, so that every attempt has the same bytes.
        made_at = max(str(result.produced.get("at", "")) for result in results)
        data: dict[str, Any] = {
            "id": self.order_id,
            "labels": dict(self.labels),
            "state": "delivered",
            "scans": list(scans),
        }
        if failed:
            data["failed_scans"] = [asdict(scan) for scan in failed]
        return strict_json({"type": _EVENT, "timestamp": made_at, "data": data})


def _receipt(reply: Reply, exchange: HttpExchange) -> Receipt:
    """Return what the answer means: any 2xx is a yes, 410 a no for ever, all else is tried again.

    A page of HTML is no yes: it is what a proxy or a captive portal answers.
    """
    is_page = reply.body[:64].lstrip().lower().startswith(_PAGE_STARTS)
    receipt = exchange.receipt_for(reply, is_documented=not is_page)
    if receipt.outcome == "accepted" or reply.status == _GONE:
        return receipt
    return _tried_again(replace(receipt, retry_after_s=reply.retry_after_s))


def _tried_again(receipt: Receipt) -> Receipt:
    """Return the receipt with an outcome after which the same message is sent again."""
    is_answer = receipt.status is not None
    if receipt.outcome == "unknown" or (receipt.outcome == "refused" and is_answer):
        return replace(receipt, outcome="later")
    return receipt
