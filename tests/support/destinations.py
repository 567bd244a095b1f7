"""Destinations as an order names them, on a guarded session with short limits."""

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from broker.orders import request as asked
from broker.settings.config import DeliverySettings
from worker.delivery.destination import Destination, destination
from worker.delivery.payload import Payload, Receipt
from worker.http_session import session

TOKEN = "eyJhbGciOiJIUzI1NiJ9.c2VjcmV0.c2lnbmF0dXJl"
TASK = "dGFzazoxODU3MTQ="
SETTINGS = DeliverySettings(connect_timeout_s=1, read_timeout_s=0.5)
PARCEL = Payload("application/json", Path(__file__).with_name("parcel.json"))


def to(*allow_hosts: str, **fields: Any) -> Destination:
    """Any destination of order `ord-1`; loopback is allowed unless other hosts are."""
    request: Any = TypeAdapter(asked.Destination).validate_python(fields)
    http = session(allow_hosts or ("127.0.0.1",), connect_timeout_s=1, read_timeout_s=0.5)
    return destination("ord-1", request, http, SETTINGS)


def to_techcyte(base_url: str, **fields: Any) -> Destination:
    """Task 185714 of the Techcyte at an address."""
    usual = {"task_id": TASK, "jwt_token": TOKEN}
    return to(type="techcyte", base_url=base_url, **(usual | fields))


def to_loader(url: str, *allow_hosts: str) -> Destination:
    """Case CMU1 of the loader at an address."""
    return to(*allow_hosts, type="annotation", url=url, case_id="CMU1")


def posted(url: str, *allow_hosts: str) -> Receipt:
    """What one attempt at the loader of an address came to."""
    return to_loader(url, *allow_hosts).post(PARCEL)
