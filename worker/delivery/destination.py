"""Results out: one attempt each, and an honest receipt. Nothing here tries again, waits, or knows an order's state."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import requests

from broker.orders import request as asked
from broker.settings.config import DeliverySettings
from worker.delivery.destinations.none import NoDelivery
from worker.delivery.destinations.quip.client import Annotation
from worker.delivery.destinations.techcyte.client import Techcyte
from worker.delivery.http_exchange import Check, always
from worker.delivery.payload import Payload, Receipt
from worker.results.result import Result


class Destination(Protocol):
    """Where the results of one order go."""

    @property
    def host(self) -> str:
        """Whom the bytes go to, host and port; empty where nothing is sent."""

    def pack(self, results: Sequence[Result], path: Path) -> Payload:
        """Write what will be sent to `path`: the same results give the same bytes.

        Raises `OrderError` where they cannot be sent.
        """

    def arrived(self, order_id: str) -> bool | None:
        """Ask the destination whether it has the order's results: yes, no, or None where nobody can say.

        Raises `TemporaryError` where it cannot be asked now.
        """

    def post(self, parcel: Payload, check: Check = always) -> Receipt:
        """One attempt. Never raises for what the other side does or does not do.

        `check` is called before each piece of the parcel goes out; what it raises ends the attempt.
        """


def destination(
    order_id: str, request: asked.Destination, http: requests.Session, settings: DeliverySettings
) -> Destination:
    """The destination that the order names."""
    match request:
        case asked.TechcyteDestination():
            return Techcyte(request, http, settings)
        case asked.AnnotationDestination():
            return Annotation(request, http, settings)
        case asked.NoDestination():
            return NoDelivery(order_id)
