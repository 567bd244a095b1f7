"""Many orders in one request: each by itself, answered in order."""

from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient

from broker.order_store import OrderStore
from services.requests.batch import MAX_ORDERS

OrderBody = Callable[..., dict[str, Any]]


def test_each_order_of_a_list_is_answered_by_itself(
    api: TestClient, order_body: OrderBody, store: OrderStore
) -> None:
    """One that is refused stops no other, and its problem is what it alone would have got."""
    wrong = order_body(algorithm="none")
    answer = api.post("/v1/orders", json=[order_body(), wrong, order_body(priority="soon"), {}])
    assert answer.status_code == 207
    entries = answer.json()
    assert [entry["status"] for entry in entries] == [202, 422, 422, 422]
    assert entries[0]["order"]["state"] == "queued"
    assert store.get(entries[0]["order"]["id"]).request.algorithm == "ki67"
    alone = api.post("/v1/orders", json=wrong).json()
    assert entries[1]["problem"] == alone
    assert entries[2]["problem"]["field"] == "priority"
    assert "algorithm" in {fault["field"] for fault in entries[3]["problem"]["errors"]}


def test_a_repeated_batch_makes_no_order_twice(
    api: TestClient, order_body: OrderBody, store: OrderStore
) -> None:
    """Also where its first answer was lost in the middle: what is missing is placed then."""
    key = {"Idempotency-Key": "batch-1"}
    body = [order_body(labels={"case": str(number)}) for number in range(3)]
    first = api.post("/v1/orders", json=body[:2], headers=key).json()
    again = api.post("/v1/orders", json=body, headers=key).json()
    ids = [entry["order"]["id"] for entry in again]
    assert ids[:2] == [entry["order"]["id"] for entry in first]
    assert len(set(ids)) == 3
    assert len(store.find().orders) == 3


def test_another_order_at_the_same_place_is_refused(api: TestClient, order_body: OrderBody) -> None:
    """The key stands for the whole list, so a changed order is a conflict, as it is alone."""
    key = {"Idempotency-Key": "batch-2"}
    api.post("/v1/orders", json=[order_body()], headers=key)
    (entry,) = api.post("/v1/orders", json=[order_body(priority="low")], headers=key).json()
    assert (entry["status"], entry["problem"]["code"]) == (422, "key_reused")


def test_a_batch_has_at_least_one_order(api: TestClient) -> None:
    """An empty list is a mistake of the caller, who is told how many are taken."""
    answer = api.post("/v1/orders", json=[])
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert str(MAX_ORDERS) in answer.json()["detail"]
