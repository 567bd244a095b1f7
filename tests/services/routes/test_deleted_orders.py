"""An order that has ended can be deleted."""

from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient

from broker.order_store import OrderStore

OrderBody = Callable[..., dict[str, Any]]


def test_an_ended_order_is_deleted_with_everything(
    api: TestClient, order_body: OrderBody, store: OrderStore
) -> None:
    """204, then 404 and on no list; its files are left to the cleanup."""
    order_id = api.post("/v1/orders", json=order_body(labels={"case": "1"})).json()["id"]
    api.post(f"/v1/orders/{order_id}/cancel")
    answer = api.delete(f"/v1/orders/{order_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    for address in ("", "/log", "/payload", "/scans/1/results.json"):
        assert api.get(f"/v1/orders/{order_id}{address}").status_code == 404
    assert api.get("/v1/orders", params={"label.case": "1"}).json()["orders"] == []
    assert api.delete(f"/v1/orders/{order_id}").status_code == 404
    assert store.deleted() == [order_id]


def test_an_order_that_has_not_ended_is_kept(
    api: TestClient, order_body: OrderBody, store: OrderStore
) -> None:
    """409 that says what to do."""
    order_id = api.post("/v1/orders", json=order_body()).json()["id"]
    answer = api.delete(f"/v1/orders/{order_id}")
    assert (answer.status_code, answer.json()["code"]) == (409, "state_conflict")
    assert "cancel it first" in answer.text
    assert store.get(order_id).id == order_id
    assert store.deleted() == []


def test_reading_alone_does_not_delete(keyed: TestClient) -> None:
    """The scope `order` is needed."""
    answer = keyed.delete("/v1/orders/x", headers={"Authorization": "Bearer read-key-2"})
    assert answer.status_code == 403
