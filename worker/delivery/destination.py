"""The interface of a destination, and the choice of the class for the kind that an order names.

A destination makes one attempt and reports it. It does not retry, wait, or know an order's state.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Protocol

import requests

from broker.orders.request import AnnotationDestination, TechcyteDestination, WebhookDestination
from broker.orders.request import Destination as DestinationRequest
from broker.orders.request import NoDestination as NoDestinationRequest
from broker.settings.config import DeliverySettings
from worker.delivery.destinations.none import NoDestination
from worker.delivery.destinations.quip.client import AnnotationLoader
from worker.delivery.destinations.techcyte.client import Techcyte
from worker.delivery.destinations.techcyte.tokens import TokenCache
from worker.delivery.destinations.webhook.client import Webhook
from worker.delivery.http_exchange import SendCheck, send_always
from worker.delivery.payload import Payload, Receipt
from worker.results.result import FailedScan, Result


class Destination(Protocol):
    """Where the results of one order are delivered."""

    is_repeatable: ClassVar[bool]
    """Whether it recognises a repetition, so that results whose fate is unknown are sent again."""

    @property
    def host(self) -> str:
        """Return the host and port that is contacted; empty where nothing is sent."""

    def build_payload(
        self, results: Sequence[Result], path: Path, failed: Sequence[FailedScan] = ()
    ) -> Payload:
        """Write what will be sent to `path`; the same results give the same bytes.

        `failed` are the order's scans that have no result; the payload names them.

        Raise `OrderError` if these results cannot be sent.
        """

    def has_received(self, order_id: str) -> bool | None:
        """Ask the destination whether it has the order's results; return None if it cannot say.

        Raise `TemporaryError` if no true answer comes now; a page of HTML is none.
        """

    def post(self, payload: Payload, check: SendCheck = send_always) -> Receipt:
        """Make one attempt and return its outcome, whatever the other side does.

        `check` is called before each piece of the payload is sent; what it raises ends the attempt.
        """


def create_destination(
    order_id: str,
    labels: Mapping[str, str],
    request: DestinationRequest,
    session: requests.Session,
    settings: DeliverySettings,
    tokens: TokenCache | None = None,
) -> Destination:
    """Return the destination that the order names.

    `tokens` keeps what API keys were exchanged for, from one attempt to the next.
    """
    match request:
        case TechcyteDestination():
            return Techcyte(request, session, settings, tokens or TokenCache())
        case AnnotationDestination():
            return AnnotationLoader(request, session, settings)
        case WebhookDestination():
            return Webhook(order_id, labels, request, session, settings)
        case NoDestinationRequest():
            return NoDestination(order_id)
