"""POST /v1/techcyte/tasks: a task that a person pastes is the order that Techcyte's post makes."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from broker.order_store import OrderStore
from broker.settings.config import Config, load
from services.app import create_app

PATH = "/v1/techcyte/tasks"
SECRET = "5" * 32
WEBHOOK: dict[str, Any] = {
    "secret": SECRET,
    "host": "ci.techcyte.com",
    "algorithms": {"*": {"algorithm": "ki67", "parameters": {"positive_threshold": 0.3}}},
}
OTHER: dict[str, Any] = WEBHOOK | {"secret": "6" * 32, "name": "other-lab"}
TASK: dict[str, Any] = {
    "task_id": "dGFzazoxODU3MTQ=",
    "model_id": "ki67-lab",
    "jwt_token": "t0ken-of-the-task",
    "scans": {"8946136": "https://bucket.example.org/a.svs?X-Amz-Expires=3600"},
}


@pytest.fixture
def api_with(config: Config, announced: OrderStore) -> Any:
    """Makes an API with these webhooks, called from this machine."""

    def make(*webhooks: dict[str, Any]) -> TestClient:
        services = {"techcyte": {"webhooks": webhooks}}
        with_webhooks = load(broker=config.broker.model_dump(), services=services)
        app = create_app(with_webhooks, announced)
        return TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000))

    return make


def test_a_pasted_task_is_the_order_of_the_task(api_with: Any) -> None:
    """Answered as any order; posted by Techcyte as well, or pasted again, it is the same order."""
    api = api_with(WEBHOOK)
    first = api.post(PATH, json=TASK)
    assert first.status_code == 202, first.text
    order = first.json()
    assert (order["algorithm"], order["parameters"]) == ("ki67", {"positive_threshold": 0.3})
    assert (order["destination"]["type"], order["state"]) == ("techcyte", "queued")
    assert "t0ken" not in first.text
    assert first.headers["location"] == f"/v1/orders/{order['id']}"
    again = api.post(PATH, json=TASK | {"jwt_token": "a-newer-one"})
    assert (again.json()["id"], again.headers["idempotency-replayed"]) == (order["id"], "true")
    posted = api.post(f"/techcyte/webhook/{SECRET}", json=TASK)
    assert posted.json()["order_id"] == order["id"]


def test_one_of_several_webhooks_is_named(api_with: Any) -> None:
    """Each has its host and its algorithms, so none is chosen for anybody."""
    api = api_with(WEBHOOK, OTHER)
    assert api.post(f"{PATH}?webhook=other-lab", json=TASK).status_code == 202
    for query in ("", "?webhook=nobody"):
        answer = api.post(PATH + query, json=TASK)
        assert (answer.status_code, answer.json()["field"]) == (422, "webhook")
        assert "other-lab, techcyte" in answer.json()["hint"]


def test_without_webhooks_nothing_says_what_to_order(api_with: Any) -> None:
    """The refusal names the setting."""
    answer = api_with().post(PATH, json=TASK)
    assert answer.status_code == 422
    assert "services.techcyte.webhooks is empty" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("task", "field"),
    [({}, "task_id"), (TASK | {"scans": {}}, "scans"), (TASK | {"task_id": [1]}, "task_id")],
    ids=["empty", "no-scans", "list"],
)
def test_what_is_no_task_is_refused(api_with: Any, task: Any, field: str) -> None:
    """With the field, as where Techcyte posts it."""
    answer = api_with(WEBHOOK).post(PATH, json=task)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
