"""Deliveries whose courier is lost, or hangs up, at the worst moment: the next must not send what may have arrived."""

import hashlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from broker.errors import Problem, TemporaryError
from broker.file_storage import open_storage
from broker.order_store import Claim, OrderStore
from broker.orders.order import Order
from broker.orders.request import OrderRequest
from broker.settings.config import BrokerSettings, Config, DeliverySettings, WorkerSettings
from demo.annotation import SUBMIT, AnnotationReceiver
from demo.faults import Fault
from demo.techcyte import TechcyteReceiver
from tests.support.results import Drawn, a_result
from tests.support.stack import wait_for
from worker.context import WorkerContext
from worker.delivery import deliver_order
from worker.delivery.circuit_breaker import CircuitBreakers
from worker.http_session import session
from worker.process.lease import Lease, Limits
from worker.results import result_folder
from worker.slide_cache.cache import SlideCache
from worker.slides.sandbox.client import Sandbox
from worker.sources.fetch import FetchTools

LISTENS_S = 0.5


@pytest.fixture
def bench(broker_settings: BrokerSettings) -> WorkerContext:
    """A courier's bench: it listens for half a second and tries again at once."""
    deliver = DeliverySettings(read_timeout_s=LISTENS_S, first_retry_s=0.01)
    config = Config(broker=broker_settings, worker=WorkerSettings(deliver=deliver))
    http = session(["127.0.0.1"], connect_timeout_s=1, read_timeout_s=LISTENS_S)
    shelf = SlideCache(broker_settings.data / "shelf", 10**9)
    store = OrderStore.connect(
        broker_settings.model_copy(update={"lease_s": 0.4, "heartbeat_s": 0.1})
    )
    means = FetchTools(shelf, http, Sandbox(threads=1), config.worker)
    return WorkerContext(
        config,
        store,
        means,
        threading.Event(),
        CircuitBreakers(at_once=2),
        open_storage(config.broker),
    )


def to_deliver(here: WorkerContext, destination: dict[str, Any]) -> str:
    """An order whose only scan is classified."""
    scans = [{"id": "1", "source": {"type": "path", "path": "/a.svs"}}]
    asked = {"algorithm": "ki67", "scans": scans, "destination": destination}
    order_id = here.store.create(
        OrderRequest.model_validate(asked, strict=False), lane="gpu"
    ).order_id
    result_folder.save(
        here.data / "results" / "1", a_result(order_id=order_id, scan_id="1"), Drawn(b"\x89PNG")
    )
    here.store.finish(claimed(here, f"{order_id}.0", "fetch"), "staged")
    here.store.finish(
        claimed(here, f"{order_id}.0", "classify"), "classified", {"result": "results/1"}
    )
    return order_id


def claimed(here: WorkerContext, work: str, stage: Any = "deliver") -> Claim:
    """The work, as soon as it can be had; the timer runs meanwhile."""

    def had() -> Claim | None:
        here.store.due()
        return here.store.claim(work, stage, "w")

    claim = wait_for(had, within_s=10, what=f"{stage} of {work}")
    assert isinstance(claim, Claim)
    return claim


def delivered(here: WorkerContext, order_id: str) -> Order:
    """The order after as many attempts as it takes."""
    for _ in range(5):
        if here.store.get(order_id).state != "delivering":
            break
        _attempt(here, order_id)
    return here.store.get(order_id)


def _attempt(here: WorkerContext, order_id: str) -> None:
    claim = claimed(here, order_id)
    with Lease(
        here.store, claim, here.config.broker, Limits(60, 60), here.leaving, _must_not
    ) as lease:
        deliver_order.attempt(here, here.store.get(order_id), claim, lease)


def _must_not(problem: Problem) -> None:
    raise AssertionError(problem)


@pytest.fixture
def lab() -> Iterator[TechcyteReceiver]:
    with TechcyteReceiver(any_task=True) as receiver:
        yield receiver


def task(lab: TechcyteReceiver) -> dict[str, Any]:
    return {"type": "techcyte", "base_url": lab.url, "task_id": "1", "jwt_token": lab.jwt_token}


def test_a_receiver_slower_than_we_listen_is_not_sent_to_twice(
    bench: WorkerContext, lab: TechcyteReceiver
) -> None:
    """It is still at work on the first post when we ask whether it has it: that no is not believed too early."""
    lab.faults.add(Fault(slow_s=LISTENS_S * 1.6))
    order = delivered(bench, to_deliver(bench, task(lab)))
    assert order.state == "delivered"
    assert [attempt.outcome for attempt in order.attempts] == ["unknown"]
    assert len(lab.ledger) == 1


def test_a_parcel_that_is_not_the_one_that_was_kept_is_never_sent(
    bench: WorkerContext, lab: TechcyteReceiver
) -> None:
    """Its digest is in the record; whatever the storage gives back instead is waited for until somebody mends it."""
    lab.faults.add(Fault(status=503))
    order_id = to_deliver(bench, task(lab))
    _attempt(bench, order_id)
    parcel = bench.data / bench.store.get(order_id).parcel["file"]
    whole = parcel.read_bytes()
    parcel.write_bytes(whole[:-1])
    with pytest.raises(TemporaryError, match="not the one that was kept"):
        _attempt(bench, order_id)
    assert len(lab.ledger) == 0
    parcel.write_bytes(whole)
    assert delivered(bench, order_id).state == "delivered"
    assert [entry.sha256 for entry in lab.ledger] == [hashlib.sha256(whole).hexdigest()]


def test_an_attempt_whose_courier_was_lost_is_given_time_to_arrive(
    bench: WorkerContext, lab: TechcyteReceiver
) -> None:
    """The next courier finds an attempt that nobody heard the end of; it waits before it asks for the last time."""
    order_id = to_deliver(bench, task(lab))
    bench.store.note(
        claimed(bench, order_id),
        attempt=(0, {"digest": "0" * 64, "error": deliver_order.ON_ITS_WAY}),
    )
    order = delivered(bench, order_id)
    assert (order.state, len(order.attempts), len(lab.ledger)) == ("delivered", 2, 1)
    assert "the courier was lost" in order.attempts[0].error
    assert order.attempts[1].at - order.attempts[0].at > LISTENS_S


def test_an_acceptance_on_record_is_not_sent_again(bench: WorkerContext) -> None:
    """The courier was lost between writing down the answer and ending the order; a loader would take it twice."""
    with AnnotationReceiver() as loader:
        order_id = to_deliver(
            bench, {"type": "annotation", "url": loader.url + SUBMIT, "case_id": "C1"}
        )
        bench.store.note(
            claimed(bench, order_id), attempt=(0, {"digest": "0" * 64, "outcome": "accepted"})
        )

        def ended() -> bool:
            bench.store.due()
            return bench.store.get(order_id).state == "delivered"

        wait_for(ended, within_s=20, what="the end that was on record")
        assert loader.ledger == []
