"""What clients of Kue do to a job: remove it, start it again, change its priority, end it."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from broker.errors import Problem
from broker.order_store import OrderStore
from broker.orders.order import Order, OrderState
from tests.services.kue.conftest import Job, sent, shown
from tests.support.orders import classify, deliver, taken

FAULT = Problem("roi_outside_slide", "it lies outside", blame="input")


@pytest.fixture
def order(door: TestClient, store: OrderStore, viewer_job: Job) -> Order:
    """The order of job 1."""
    assert sent(door, viewer_job()) == 1
    (order,) = store.find(labels={"kue": "1"}).orders
    return order


def fail(store: OrderStore, order: Order) -> None:
    store.finish(taken(store, f"{order.id}.0", "fetch"), "failed", problem=FAULT)


def put(door: TestClient, path: str) -> Any:
    answer = door.put(f"/kue/job/{path}")
    assert answer.status_code == 200
    return answer.json()


def test_a_removed_job_takes_its_waiting_order_along(
    door: TestClient, store: OrderStore, order: Order
) -> None:
    """The order is cancelled and deleted: nobody would look for its results."""
    answer = door.delete("/kue/job/1")
    assert (answer.status_code, answer.json()) == (200, {"message": "job 1 removed"})
    assert door.delete("/kue/job/1").json() == {"error": 'job "1" doesnt exist'}
    assert not store.find().orders
    assert store.claim(f"{order.id}.0", "fetch", "w") is None
    assert not store._client.records.keys("sl:kue:job*1*")


def test_results_on_their_way_arrive_all_the_same(
    door: TestClient, store: OrderStore, order: Order
) -> None:
    """A delivery cannot be called back; the order stays, without a job, and ends by itself."""
    classify(store, order.id)
    claim = taken(store, order.id, "deliver")
    assert door.delete("/kue/job/1").json() == {"message": "job 1 removed"}
    assert "doesnt exist" in door.get("/kue/job/1").text
    store.finish(claim, "delivered")
    assert store.get(order.id).state == OrderState.DELIVERED
    assert store.kue.number_of(order.id) is None


def test_a_job_without_an_order_is_removed(door: TestClient) -> None:
    """One that was failed from the start."""
    number = sent(door, {"type": "quip_composite_cwl"})
    assert door.delete(f"/kue/job/{number}").json() == {"message": f"job {number} removed"}
    assert door.get("/kue/stats").json()["failedCount"] == 0


@pytest.mark.parametrize("how", ["put", "get"])
def test_a_failed_job_is_started_again(
    door: TestClient, store: OrderStore, order: Order, how: str
) -> None:
    """By a PUT of the state, and by Kue's GET that changes something."""
    fail(store, order)
    if how == "put":
        assert put(door, "1/state/inactive") == {"message": "updated state"}
    else:
        assert door.get("/kue/inactive/1").json() == {"message": "job 1 inactive"}
    job = shown(door, 1)
    assert (job["state"], "error" in job) == ("inactive", False)
    assert store.get(order.id).state == OrderState.QUEUED
    assert [(act.act, act.by) for act in store.get(order.id).acts] == [("retry", "kue")]
    deliver(store, order.id)
    assert shown(door, 1)["state"] == "complete"


def test_kept_results_are_delivered_again(
    door: TestClient, store: OrderStore, order: Order
) -> None:
    """A job whose results did not arrive is not classified a second time."""
    classify(store, order.id)
    store.finish(taken(store, order.id, "deliver"), "undelivered", problem=FAULT)
    assert put(door, "1/state/inactive") == {"message": "updated state"}
    assert store.get(order.id).state == OrderState.DELIVERING
    assert shown(door, 1)["state"] == "active"


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("1/state/complete", "job 1 is inactive: only the work on its order makes it complete"),
        ("1/state/active", "job 1 is inactive: only the work on its order makes it active"),
        ("1/state/start", "invalid state; the states are inactive"),
        ("9/state/inactive", 'job "9" doesnt exist'),
        ("9/priority/5", 'job "9" doesnt exist'),
        ("1/priority/high", "invalid priority"),
    ],
)
def test_what_cannot_be_changed(
    door: TestClient, store: OrderStore, order: Order, path: str, error: str
) -> None:
    """200 with `error`, as Kue's own errors; a state is never other than that of the record."""
    assert error in put(door, path)["error"]
    assert shown(door, 1)["state"] == "inactive"
    assert store.get(order.id).state == OrderState.QUEUED


def test_states_that_are_reached_already(door: TestClient, store: OrderStore, order: Order) -> None:
    """Asking for the state that a job has changes nothing; a complete one is sent anew instead."""
    assert put(door, "1/state/inactive") == {"message": "updated state"}
    deliver(store, order.id)
    assert put(door, "1/state/complete") == {"message": "updated state"}
    assert "send it once more" in put(door, "1/state/inactive")["error"]
    refused = sent(door, {"type": "absent"})
    assert "could not be an order" in put(door, f"{refused}/state/inactive")["error"]


def test_a_job_that_is_failed_by_its_client_is_cancelled(
    door: TestClient, store: OrderStore, order: Order
) -> None:
    """The order ends at once."""
    assert put(door, "1/state/failed") == {"message": "updated state"}
    assert store.get(order.id).state == OrderState.CANCELLED
    assert shown(door, 1)["error"].startswith("cancelled")


def test_a_priority_moves_waiting_work(
    door: TestClient, store: OrderStore, order: Order, viewer_job: Job
) -> None:
    """To the queue of the new priority, with a message for it; the lists follow, and the order."""
    sent(door, viewer_job())
    assert put(door, "1/priority/10") == {"message": "updated priority"}
    assert shown(door, 1)["priority"] == 10
    assert store.get(order.id).request.priority == "low"
    assert store._client.records.zrange("sl:waiting:fetch.low", 0, -1) == [f"{order.id}.0"]
    assert [job["id"] for job in door.get("/kue/jobs/0..0").json()] == [2]
    assert put(door, "1/priority/-50") == {"message": "updated priority"}
    assert store.get(order.id).request.priority == "high"
    assert store._client.records.zrange("sl:waiting:fetch.high", 0, -1) == [f"{order.id}.0"]
    assert [job["id"] for job in door.get("/kue/jobs/inactive/0..0").json()] == [1]
    assert door.get(f"/v1/orders/{order.id}").json()["priority"] == "high"
    store.finish(taken(store, f"{order.id}.0", "fetch"), "staged")
    assert put(door, "1/priority/0") == {"message": "updated priority"}
    assert store._client.records.zrange("sl:waiting:gpu", 0, -1) == [f"{order.id}.0"]


def test_a_priority_leaves_a_delay_as_it_is(
    door: TestClient, store: OrderStore, viewer_job: Job
) -> None:
    """The work moves, and still cannot be claimed."""
    number = sent(door, viewer_job(options={"delay": 600_000}))
    (order,) = store.find(labels={"kue": str(number)}).orders
    assert put(door, f"{number}/priority/-10") == {"message": "updated priority"}
    assert store.claim(f"{order.id}.0", "fetch", "w") is None
    assert shown(door, number)["state"] == "delayed"
    assert [job["id"] for job in door.get("/kue/jobs/delayed/0..9").json()] == [number]
