"""The kept results of a delivered order go to another destination, of every kind, once."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from broker.orders.request import Destination
from broker.settings.config import BrokerSettings
from demo.annotation import SUBMIT, SUBMIT_MASK, AnnotationReceiver
from demo.camicroscope import CaMicroscopeReceiver
from demo.receivers import Receiver
from demo.techcyte import TechcyteReceiver
from demo.webhook import WebhookReceiver
from tests.support.courier import Courier

KINDS = ("techcyte", "annotation", "mask", "confirmed", "camicroscope", "webhook", "none")
SLIDE = "5f9ad1c8f4a3b2001d2c1e77"


class Receivers:
    """One receiver of each kind, which takes what a strict one takes."""

    def __init__(self) -> None:
        self.lab = TechcyteReceiver(any_task=True)
        self.loader = AnnotationReceiver()
        self.site = CaMicroscopeReceiver()
        self.inbox = WebhookReceiver()

    def of(self, kind: str) -> tuple[dict[str, Any], Receiver | None]:
        """Return a destination of this kind, and who gets what is sent to it."""
        loader = {"type": "annotation", "url": self.loader.url + SUBMIT, "case_id": "C1"}
        site = {"type": "camicroscope", "url": self.site.url, "slide": SLIDE}
        inbox = {"type": "webhook", "url": self.inbox.url, "secret": self.inbox.secret}
        lab = {"type": "techcyte", "base_url": self.lab.url, "task_id": "1"}
        kinds: dict[str, tuple[dict[str, Any], Receiver | None]] = {
            "techcyte": (lab | {"jwt_token": self.lab.jwt_token}, self.lab),
            "annotation": (loader, self.loader),
            "mask": (loader | {"url": self.loader.url + SUBMIT_MASK}, self.loader),
            "confirmed": (loader | {"confirm_url": f"{self.loader.url}/job/{{id}}"}, self.loader),
            "camicroscope": (site | {"token": self.site.token}, self.site),
            "webhook": (inbox, self.inbox),
            "none": ({"type": "none"}, None),
        }
        return kinds[kind]


@pytest.fixture
def receivers() -> Iterator[Receivers]:
    made = Receivers()
    with ExitStack() as stack:
        for receiver in (made.lab, made.loader, made.site, made.inbox):
            stack.enter_context(receiver)
        yield made


@pytest.fixture
def courier(broker_settings: BrokerSettings) -> Courier:
    return Courier(broker_settings)


def test_every_kind_is_tried() -> None:
    """A new type of destination has its place here."""
    models = get_args(get_args(Destination)[0])
    types = {get_args(model.model_fields["type"].annotation)[0] for model in models}
    assert types == {*KINDS} - {"mask", "confirmed"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_delivered_order_is_delivered_to_a_new_destination(
    courier: Courier, receivers: Receivers, kind: str
) -> None:
    """The kept results are sent, without classifying again."""
    order_id = courier.to_deliver({"type": "none"})
    assert courier.deliver_until_it_ends(order_id).state == "delivered"
    destination, receiver = receivers.of(kind)
    whole: Any = TypeAdapter(Destination).validate_python(destination)
    courier.store.deliver_again(order_id, "", whole)
    order = courier.deliver_until_it_ends(order_id)
    assert (order.state, order.attempts[-1].outcome) == ("delivered", "accepted")
    assert order.shown_destination["type"] == destination["type"]
    if receiver is not None:
        assert len(receiver.ledger) == 1
        assert receiver.ledger[0].at >= order.attempts[-1].at - 1


@pytest.mark.parametrize("kind", ["camicroscope", "webhook"])
def test_what_recognises_a_repetition_gets_nothing_twice(
    courier: Courier, receivers: Receivers, kind: str
) -> None:
    """The marks are there, and the event is known by its id."""
    destination, receiver = receivers.of(kind)
    order_id = courier.to_deliver(destination)
    assert courier.deliver_until_it_ends(order_id).state == "delivered"
    whole: Any = TypeAdapter(Destination).validate_python(destination)
    courier.store.deliver_again(order_id, "", whole)
    assert courier.deliver_until_it_ends(order_id).state == "delivered"
    assert receiver is not None
    assert len(receiver.ledger) == 1
