"""Destinations as an order names them, on a guarded session with short time limits."""

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from broker.orders.request import Destination as DestinationRequest
from broker.settings.config import DeliverySettings, HttpSettings
from worker.delivery.destination import Destination, create_destination
from worker.delivery.payload import Payload, Receipt
from worker.http_session import session

TOKEN = "eyJhbGciOiJIUzI1NiJ9.c2VjcmV0.c2lnbmF0dXJl"
TASK = "dGFzazoxODU3MTQ="
SETTINGS = DeliverySettings(connect_timeout_s=1, read_timeout_s=0.5)
PAYLOAD = Payload("application/json", Path(__file__).with_name("payload.json"))


def a_destination(
    *allow_hosts: str,
    http: HttpSettings | None = None,
    read_timeout_s: float = SETTINGS.read_timeout_s,
    **fields: Any,
) -> Destination:
    """Return any destination of order `ord-1`; loopback is allowed unless other hosts are."""
    settings = SETTINGS.model_copy(update={"read_timeout_s": read_timeout_s})
    request: Any = TypeAdapter(DestinationRequest).validate_python(fields)
    deliveries = session(
        allow_hosts or ("127.0.0.1",),
        connect_timeout_s=1,
        read_timeout_s=read_timeout_s,
        http=http,
        encrypted_only=True,
    )
    return create_destination("ord-1", {"case": "S26-1"}, request, deliveries, settings)


def a_techcyte(
    base_url: str, *allow_hosts: str, http: HttpSettings | None = None, **fields: Any
) -> Destination:
    """Return task 185714 of the Techcyte at the URL."""
    defaults = {"type": "techcyte", "base_url": base_url, "task_id": TASK, "jwt_token": TOKEN}
    return a_destination(*allow_hosts, http=http, **(defaults | fields))


def a_loader(url: str, *allow_hosts: str) -> Destination:
    """Return case CMU1 of the loader at the URL."""
    return a_destination(*allow_hosts, type="annotation", url=url, case_id="CMU1")


def post_to_loader(url: str, *allow_hosts: str) -> Receipt:
    """Make one attempt at the loader at the URL."""
    return a_loader(url, *allow_hosts).post(PAYLOAD)
