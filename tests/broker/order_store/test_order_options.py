"""What an order says of its own course: a delay, a limit of attempts, failed scans."""

import pytest

from broker.errors import Problem
from broker.order_store import OrderStore
from broker.order_store.errors import StateConflictError
from broker.orders.order import OrderState, ScanState
from broker.settings.config import BrokerSettings
from tests.support.orders import a_request, classify, taken

FAULT = Problem("not_a_slide", "it is a text", blame="input")


def fail(store: OrderStore, order_id: str, index: int) -> None:
    store.finish(taken(store, f"{order_id}.{index}", "fetch"), "failed", problem=FAULT)


def test_an_order_with_a_delay_waits_for_it(store: OrderStore) -> None:
    """No message is enqueued, nobody can claim it, and the order still has its whole life."""
    created = store.create(a_request(delay_s=3600.0), queue="gpu")
    assert created.messages == ()
    assert store.claim(f"{created.order_id}.0", "fetch", "w") is None
    order = store.get(created.order_id)
    assert order.expires_at > order.created_at + 3600
    waits = store.waits(order)
    assert 3590 < float(waits[f"{order.id}.0"].reason.split(" in ")[1].split()[0]) <= 3600


def test_a_delay_that_is_over_ends_by_itself(broker_settings: BrokerSettings) -> None:
    """The scheduler enqueues the message, and the scan can be claimed."""
    store = OrderStore.connect(broker_settings)
    created = store.create(a_request(delay_s=0.05), queue="gpu")
    messages = ()
    while not messages:
        messages = store.due()
    assert [message.work for message in messages] == [f"{created.order_id}.0"]
    assert store.claim(f"{created.order_id}.0", "fetch", "w")


def test_an_order_may_allow_fewer_attempts_than_the_site(store: OrderStore) -> None:
    """The site allows three; this one ends with the second worker that is lost."""
    order_id = store.create(a_request(attempts=2), queue="gpu").order_id
    work = f"{order_id}.0"
    assert taken(store, work, "fetch").most_attempts == 2
    store.take_back("w1", "signal 9")
    assert store.get(order_id).scans[0].state == ScanState.QUEUED
    taken(store, work, "fetch")
    store.take_back("w1", "signal 9")
    assert store.get(order_id).scans[0].state == ScanState.FAILED


def test_what_was_given_back_counts_as_an_attempt(store: OrderStore) -> None:
    """A temporary fault was one try, the lost worker is the second."""
    order_id = store.create(a_request(attempts=2), queue="gpu").order_id
    work = f"{order_id}.0"
    store.give_back(taken(store, work, "fetch"), {"retries": 1}, problem=FAULT)
    taken(store, work, "fetch")
    store.take_back("w1", "signal 9")
    assert store.get(order_id).scans[0].state == ScanState.FAILED


def test_the_rest_is_delivered_where_the_order_wants_that(store: OrderStore) -> None:
    """The order goes on to its delivery, and its log says that a scan is missing."""
    request = a_request(2, on_scan_failure="deliver_rest")
    order_id = store.create(request, queue="gpu").order_id
    fail(store, order_id, 1)
    assert store.get(order_id).state == OrderState.RUNNING
    classify(store, order_id, 0)
    order = store.get(order_id)
    assert (order.state, order.error) == (OrderState.DELIVERING, None)
    assert "1 of 2 scans failed; the rest is delivered" in {
        entry["text"] for entry in store.log(order_id)
    }
    store.finish(taken(store, order_id, "deliver"), "delivered")


def test_without_a_single_result_the_order_fails(store: OrderStore) -> None:
    """There is nothing to deliver."""
    request = a_request(2, on_scan_failure="deliver_rest")
    order_id = store.create(request, queue="gpu").order_id
    fail(store, order_id, 0)
    fail(store, order_id, 1)
    assert store.get(order_id).state == OrderState.FAILED


def test_the_rest_can_be_delivered_again(store: OrderStore) -> None:
    """The failed scan is not tried again by that."""
    request = a_request(2, on_scan_failure="deliver_rest")
    order_id = store.create(request, queue="gpu").order_id
    fail(store, order_id, 1)
    classify(store, order_id, 0)
    refused = Problem("destination_refused", "no", blame="destination")
    store.finish(taken(store, order_id, "deliver"), "undelivered", problem=refused)
    store.deliver_again(order_id)
    order = store.get(order_id)
    assert (order.state, order.scans[1].state) == (OrderState.DELIVERING, ScanState.FAILED)


def test_an_order_that_wants_all_or_nothing_is_not_delivered_in_part(store: OrderStore) -> None:
    """Without `deliver_rest` one failed scan keeps back the others, also when asked again."""
    order_id = store.create(a_request(2), queue="gpu").order_id
    fail(store, order_id, 1)
    classify(store, order_id, 0)
    assert store.get(order_id).state == OrderState.FAILED
    with pytest.raises(StateConflictError):
        store.deliver_again(order_id)
