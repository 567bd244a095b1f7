"""Deliveries whose courier is lost, or hangs up, at the worst moment.

The next courier must not send what may have arrived.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from broker.errors import Problem, TemporaryError
from broker.order_store import Claim, OrderStore
from broker.orders.order import Order
from broker.orders.request import OrderRequest
from broker.settings.config import BrokerSettings, Config, DeliverySettings, WorkerSettings
from demo.annotation import SUBMIT, AnnotationReceiver
from demo.faults import Fault
from demo.techcyte import TechcyteReceiver
from tests.support.results import Drawn, a_result
from tests.support.stack import wait_for
from tests.support.worker_contexts import a_worker_context
from worker.context import WorkerContext
from worker.delivery.deliver_order import NO_ANSWER_YET
from worker.process.lease import Lease, Limits
from worker.results import result_folder

READ_TIMEOUT_S = 0.5
"""How long the courier waits for an answer."""


@pytest.fixture
def context(broker_settings: BrokerSettings) -> WorkerContext:
    """A courier's context: it waits half a second for an answer and retries at once."""
    deliver = DeliverySettings(read_timeout_s=READ_TIMEOUT_S, first_retry_s=0.01)
    config = Config(broker=broker_settings, worker=WorkerSettings(deliver=deliver))
    store = OrderStore.connect(
        broker_settings.model_copy(update={"lease_s": 0.4, "heartbeat_s": 0.1})
    )
    return a_worker_context(config, store, read_timeout_s=READ_TIMEOUT_S)


def to_deliver(context: WorkerContext, destination: dict[str, Any]) -> str:
    """Return the id of an order whose only scan is classified."""
    scans = [{"id": "1", "source": {"type": "path", "path": "/a.svs"}}]
    body = {"algorithm": "ki67", "scans": scans, "destination": destination}
    request = OrderRequest.model_validate(body, strict=False)
    order_id = context.store.create(request, queue="gpu").order_id
    result = a_result(order_id=order_id, scan_id="1")
    result_folder.save(context.data / "results" / "1", result, Drawn(b"\x89PNG"))
    context.store.finish(claimed(context, f"{order_id}.0", "fetch"), "staged")
    classify = claimed(context, f"{order_id}.0", "classify")
    context.store.finish(classify, "classified", {"result": "results/1"})
    return order_id


def claimed(context: WorkerContext, work: str, stage: Any = "deliver") -> Claim:
    """Claim the work as soon as it waits; the scheduler runs meanwhile."""

    def claim_if_due() -> Claim | None:
        context.store.due()
        return context.store.claim(work, stage, "w")

    claim = wait_for(claim_if_due, within_s=10, what=f"{stage} of {work}")
    assert isinstance(claim, Claim)
    return claim


def delivered(context: WorkerContext, order_id: str) -> Order:
    """Return the order after as many attempts as it takes."""
    for _ in range(5):
        if context.store.get(order_id).state != "delivering":
            break
        _attempt(context, order_id)
    return context.store.get(order_id)


def _attempt(context: WorkerContext, order_id: str) -> None:
    claim = claimed(context, order_id)
    settings = context.config.broker
    with Lease(context.store, claim, settings, Limits(60, 60), context.leaving, _must_not) as lease:
        context.deliverer.attempt(context.store.get(order_id), claim, lease)


def _must_not(problem: Problem) -> None:
    raise AssertionError(problem)


@pytest.fixture
def lab() -> Iterator[TechcyteReceiver]:
    with TechcyteReceiver(any_task=True) as receiver:
        yield receiver


def task(lab: TechcyteReceiver) -> dict[str, Any]:
    return {"type": "techcyte", "base_url": lab.url, "task_id": "1", "jwt_token": lab.jwt_token}


def test_a_receiver_slower_than_we_listen_is_not_sent_to_twice(
    context: WorkerContext, lab: TechcyteReceiver
) -> None:
    """It still processes the first post when it is asked: its "no" does not count too early."""
    lab.faults.add(Fault(slow_s=READ_TIMEOUT_S * 1.6))
    order = delivered(context, to_deliver(context, task(lab)))
    assert order.state == "delivered"
    assert [attempt.outcome for attempt in order.attempts] == ["unknown"]
    assert len(lab.ledger) == 1


def test_a_payload_that_is_not_the_stored_one_is_never_sent(
    context: WorkerContext, lab: TechcyteReceiver
) -> None:
    """The record has its digest; other bytes are not sent, and the order waits for a repair."""
    lab.faults.add(Fault(status=503))
    order_id = to_deliver(context, task(lab))
    _attempt(context, order_id)
    payload = context.data / context.store.get(order_id).payload["file"]
    content = payload.read_bytes()
    payload.write_bytes(content[:-1])
    with pytest.raises(TemporaryError, match="not the one that was kept"):
        _attempt(context, order_id)
    assert len(lab.ledger) == 0
    payload.write_bytes(content)
    assert delivered(context, order_id).state == "delivered"
    assert [entry.sha256 for entry in lab.ledger] == [hashlib.sha256(content).hexdigest()]


def test_an_attempt_whose_courier_was_lost_is_given_time_to_arrive(
    context: WorkerContext, lab: TechcyteReceiver
) -> None:
    """The next courier finds an attempt without an outcome; it waits before it asks again."""
    order_id = to_deliver(context, task(lab))
    context.store.note(
        claimed(context, order_id),
        attempt=(0, {"digest": "0" * 64, "error": NO_ANSWER_YET}),
    )
    order = delivered(context, order_id)
    assert (order.state, len(order.attempts), len(lab.ledger)) == ("delivered", 2, 1)
    assert "the courier was lost" in order.attempts[0].error
    assert order.attempts[1].at - order.attempts[0].at > READ_TIMEOUT_S


def test_an_acceptance_on_record_is_not_sent_again(context: WorkerContext) -> None:
    """The courier was lost between recording the answer and ending the order."""
    with AnnotationReceiver() as loader:
        order_id = to_deliver(
            context, {"type": "annotation", "url": loader.url + SUBMIT, "case_id": "C1"}
        )
        context.store.note(
            claimed(context, order_id), attempt=(0, {"digest": "0" * 64, "outcome": "accepted"})
        )

        def ended() -> bool:
            context.store.due()
            return context.store.get(order_id).state == "delivered"

        wait_for(ended, within_s=20, what="the end that was on record")
        assert loader.ledger == []
