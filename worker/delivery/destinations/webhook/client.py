"""Call an address when an order's results are there: a summary and links, not the objects.

By Standard Webhooks 1.0 (standard-webhooks/standard-webhooks, `spec/standard-webhooks.md`). The id
of the message is the same for every attempt, so a receiver recognises a repetition: an answer that
was lost is simply asked for again. An address that answered 410 is not called any more.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Final, Protocol
from urllib.parse import urlsplit

import requests

from broker.orders.destinations import WebhookDestination
from broker.secret_forms import secrets_of_url
from broker.settings.config import DeliverySettings
from worker.delivery.destinations.webhook import events
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
from worker.results.result import FailedScan, Result

_GONE: Final = 410
_PAGE_STARTS: Final = (b"<!doctype html", b"<html")


class GoneAddresses(Protocol):
    """Remembers which webhooks answered 410; the order store does."""

    def is_gone(self, url: str) -> bool:
        """Return whether the webhook is called no more."""

    def mark_gone(self, url: str) -> None:
        """Remember that the webhook answered 410."""


@dataclass(frozen=True)
class NoneGone:
    """Remembers nothing, where there is no order store."""

    def is_gone(self, url: str) -> bool:  # noqa: ARG002 - the signature of GoneAddresses
        """Return False."""
        return False

    def mark_gone(self, url: str) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Webhook:
    """One address as the destination of one order."""

    order_id: str
    labels: Mapping[str, str]
    request: WebhookDestination
    session: requests.Session
    settings: DeliverySettings
    gone: GoneAddresses = NoneGone()

    is_repeatable: ClassVar[bool] = True

    @property
    def host(self) -> str:
        """Return host and port of the address."""
        return urlsplit(self.request.url.get_secret_value()).netloc.rpartition("@")[2]

    def build_payload(
        self, results: Sequence[Result], path: Path, failed: Sequence[FailedScan] = ()
    ) -> Payload:
        """Write the event; summaries are left out where they would make it too long."""
        path.write_bytes(events.of_results(self.order_id, self.labels, results, failed))
        return Payload("application/json", path)

    def has_received(self, order_id: str) -> None:
        """Return None: nobody can be asked, and nobody needs to be."""

    def post(self, payload: Payload, check: SendCheck = send_always) -> Receipt:
        """Call the address once with the event of the results."""
        return self.call(events.DELIVERED, payload, check)

    def call(self, event: str, payload: Payload, check: SendCheck = send_always) -> Receipt:
        """Call the address once, signed with the time of this attempt."""
        url = self.request.url.get_secret_value()
        if self.gone.is_gone(url):
            detail = "it answered 410 (gone) before, and is called again only when asked to deliver"
            return Receipt("refused", _GONE, detail)
        body = payload.path.read_bytes()
        timestamp_s = int(time.time())
        message_id = events.message_id(self.order_id, event)
        headers = {
            "User-Agent": f"Slidelane/{product_version()}",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp_s),
            "webhook-signature": signature_header(
                self.request.secrets, message_id, timestamp_s, body
            ),
        }
        exchange = HttpExchange(self.session, self.settings, secrets_of_url(url))
        try:
            reply = exchange.post(url, payload, headers, check)
        except UnansweredError as error:
            return _tried_again(error.receipt)
        if reply.status == _GONE:
            self.gone.mark_gone(url)
        return _receipt(reply, exchange)


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
