"""Deliveries whose courier is lost, or hangs up, at the worst moment.

The next courier must not send what may have arrived.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from broker.errors import TemporaryError
from broker.orders.request import OrderRequest
from broker.settings.config import BrokerSettings
from demo.annotation import SUBMIT, AnnotationReceiver
from demo.faults import Fault
from demo.techcyte import TechcyteReceiver
from tests.support.courier import PATIENCE_S, READ_TIMEOUT_S, Courier
from tests.support.stack import wait_for
from worker.delivery.deliver_order import NO_ANSWER_YET


@pytest.fixture
def courier(broker_settings: BrokerSettings) -> Courier:
    return Courier(broker_settings)


@pytest.fixture
def lab() -> Iterator[TechcyteReceiver]:
    with TechcyteReceiver(any_task=True) as receiver:
        yield receiver


def task(lab: TechcyteReceiver) -> dict[str, Any]:
    return {"type": "techcyte", "base_url": lab.url, "task_id": "1", "jwt_token": lab.jwt_token}


def test_a_receiver_slower_than_we_listen_is_not_sent_to_twice(
    courier: Courier, lab: TechcyteReceiver
) -> None:
    """It still processes the first post when it is asked: its "no" does not count too early."""
    lab.faults.add(Fault(slow_s=READ_TIMEOUT_S * 1.6))
    order = courier.deliver_until_it_ends(courier.to_deliver(task(lab)))
    assert order.state == "delivered"
    assert [attempt.outcome for attempt in order.attempts] == ["found"]
    assert len(lab.ledger) == 1


def test_a_payload_that_is_not_the_stored_one_is_never_sent(
    courier: Courier, lab: TechcyteReceiver
) -> None:
    """The record has its digest; other bytes are not sent, and the order waits for a repair."""
    lab.faults.add(Fault(status=503))
    order_id = courier.to_deliver(task(lab))
    courier.attempt(order_id)
    payload = courier.data / courier.store.get(order_id).payload["file"]
    content = payload.read_bytes()
    payload.write_bytes(content[:-1])
    with pytest.raises(TemporaryError, match="not the one that was kept"):
        courier.attempt(order_id)
    assert len(lab.ledger) == 0
    payload.write_bytes(content)
    assert courier.deliver_until_it_ends(order_id).state == "delivered"
    assert [entry.sha256 for entry in lab.ledger] == [hashlib.sha256(content).hexdigest()]


def test_an_attempt_whose_courier_was_lost_is_given_time_to_arrive(
    courier: Courier, lab: TechcyteReceiver
) -> None:
    """The next courier finds an attempt without an outcome; it waits before it asks again."""
    order_id = courier.to_deliver(task(lab))
    courier.store.note(
        courier.claimed(order_id),
        attempt=(0, {"digest": "0" * 64, "error": NO_ANSWER_YET}),
    )
    order = courier.deliver_until_it_ends(order_id)
    assert (order.state, len(order.attempts), len(lab.ledger)) == ("delivered", 2, 1)
    assert "the courier was lost" in order.attempts[0].error
    assert order.attempts[1].at - order.attempts[0].at > PATIENCE_S


def test_an_acceptance_on_record_is_not_sent_again(courier: Courier) -> None:
    """The courier was lost between recording the answer and ending the order."""
    with AnnotationReceiver() as loader:
        order_id = courier.to_deliver(
            {"type": "annotation", "url": loader.url + SUBMIT, "case_id": "C1"}
        )
        courier.store.note(
            courier.claimed(order_id), attempt=(0, {"digest": "0" * 64, "outcome": "accepted"})
        )

        def ended() -> bool:
            courier.store.due()
            return courier.store.get(order_id).state == "delivered"

        wait_for(ended, within_s=20, what="the end that was on record")
        assert loader.ledger == []


def test_a_delivered_order_goes_to_another_kind_of_destination(
    courier: Courier, lab: TechcyteReceiver
) -> None:
    """The accepted attempt at the first one says nothing of the second: it gets a payload made for
    it, once, and the credentials of both are gone."""
    order_id = courier.to_deliver(task(lab))
    first = courier.deliver_until_it_ends(order_id)
    assert first.state == "delivered"
    with AnnotationReceiver() as loader:
        url = f"{loader.url}{SUBMIT}"
        body = {"type": "annotation", "url": f"{url}?key=S3CRET-KEY", "case_id": "S26-1"}
        new = OrderRequest.model_validate(
            {
                "algorithm": "ki67",
                "scans": [{"id": "1", "source": {"type": "path", "path": "/a.svs"}}],
                "destination": body,
            },
            strict=False,
        ).destination
        courier.store.deliver_again(order_id, "lab", new)
        second = courier.deliver_until_it_ends(order_id)
        assert len(loader.ledger) == 1
    assert (second.state, len(lab.ledger)) == ("delivered", 1)
    assert [attempt.outcome for attempt in second.attempts] == ["accepted", "accepted"]
    assert second.payload["content_type"].startswith("multipart/form-data")
    assert second.payload["digest"] != first.payload["digest"]
    assert second.shown_destination["url"] == f"{url}?…"
