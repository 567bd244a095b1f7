"""Cancel, retry, deliver: asked over HTTP, answered with the order as it then stands."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from broker.errors import Problem
from broker.order_store import Claim, OrderStore

OrderBody = Callable[..., dict[str, Any]]


def placed(api: TestClient, order_body: OrderBody) -> str:
    return str(api.post("/v1/orders", json=order_body()).json()["id"])


def taken(store: OrderStore, work: str, stage: str) -> Claim:
    claim = store.claim(work, stage, "w")  # type: ignore[arg-type]
    assert claim
    return claim


def test_a_waiting_order_is_cancelled_at_once(api: TestClient, order_body: OrderBody) -> None:
    """202, and the answer says so already; asking twice is no fault."""
    order_id = placed(api, order_body)
    for _ in range(2):
        answer = api.post(f"/v1/orders/{order_id}/cancel")
        assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
    assert answer.headers["location"] == f"/v1/orders/{order_id}"


def test_a_failed_order_is_tried_again(
    api: TestClient, order_body: OrderBody, store: OrderStore
) -> None:
    """It is queued once more, and its error is gone."""
    order_id = placed(api, order_body)
    store.finish(
        taken(store, f"{order_id}.0", "fetch"),
        "failed",
        problem=Problem("not_a_slide", "no", blame="input"),
    )
    answer = api.post(f"/v1/orders/{order_id}/retry")
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    assert "error" not in answer.json()


@pytest.mark.parametrize("action", ["retry", "deliver"])
def test_what_the_state_does_not_allow_is_a_conflict(
    api: TestClient, order_body: OrderBody, action: str
) -> None:
    """409 that names the state and the rule."""
    answer = api.post(f"/v1/orders/{placed(api, order_body)}/{action}")
    assert (answer.status_code, answer.json()["code"]) == (409, "state_conflict")
    assert "is queued" in answer.json()["detail"]


@pytest.mark.parametrize("action", ["cancel", "retry", "deliver"])
def test_nothing_can_be_asked_of_an_order_that_is_not_there(api: TestClient, action: str) -> None:
    """404, as for reading it."""
    assert api.post(f"/v1/orders/nothing/{action}").json()["code"] == "not_found"


def test_reading_alone_does_not_cancel(keyed: TestClient) -> None:
    """The scope `order` is needed."""
    answer = keyed.post("/v1/orders/x/cancel", headers={"Authorization": "Bearer read-key-2"})
    assert answer.status_code == 403
