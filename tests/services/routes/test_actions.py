"""Cancel, retry, deliver: asked over HTTP, answered with the order as it then stands."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from broker.errors import Problem
from broker.order_store import Claim, OrderStore

Asked = Callable[..., dict[str, Any]]


def placed(desk: TestClient, asked: Asked) -> str:
    return str(desk.post("/v1/orders", json=asked()).json()["id"])


def taken(store: OrderStore, work: str, stage: str) -> Claim:
    claim = store.claim(work, stage, "w")  # type: ignore[arg-type]
    assert claim
    return claim


def test_a_waiting_order_is_cancelled_at_once(desk: TestClient, asked: Asked) -> None:
    """202, and the answer says so already; asking twice is no fault."""
    order_id = placed(desk, asked)
    for _ in range(2):
        answer = desk.post(f"/v1/orders/{order_id}/cancel")
        assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
    assert answer.headers["location"] == f"/v1/orders/{order_id}"


def test_a_failed_order_is_tried_again(desk: TestClient, asked: Asked, store: OrderStore) -> None:
    """It is queued once more, and its error is gone."""
    order_id = placed(desk, asked)
    store.finish(
        taken(store, f"{order_id}.0", "fetch"),
        "failed",
        problem=Problem("not_a_slide", "no", blame="input"),
    )
    answer = desk.post(f"/v1/orders/{order_id}/retry")
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    assert "error" not in answer.json()


@pytest.mark.parametrize("wish", ["retry", "deliver"])
def test_what_the_state_does_not_allow_is_a_conflict(
    desk: TestClient, asked: Asked, wish: str
) -> None:
    """409 that names the state and the rule."""
    answer = desk.post(f"/v1/orders/{placed(desk, asked)}/{wish}")
    assert (answer.status_code, answer.json()["code"]) == (409, "state_conflict")
    assert "is queued" in answer.json()["detail"]


@pytest.mark.parametrize("wish", ["cancel", "retry", "deliver"])
def test_nothing_can_be_asked_of_an_order_that_is_not_there(desk: TestClient, wish: str) -> None:
    """404, as for reading it."""
    assert desk.post(f"/v1/orders/nothing/{wish}").json()["code"] == "not_found"


def test_reading_alone_does_not_cancel(keyed: TestClient) -> None:
    """The scope `order` is needed."""
    answer = keyed.post("/v1/orders/x/cancel", headers={"Authorization": "Bearer read-key-2"})
    assert answer.status_code == 403
