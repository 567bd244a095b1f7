"""Who may do what, with keys and without."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from broker.order_store import OrderStore
from broker.settings.config import Config
from services.app import create_app

OrderBody = Callable[..., dict[str, Any]]
CLERK, READER, CHIEF = "order-key-1", "read-key-2", "admin-key-3"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    "headers",
    [{}, bearer("wrong"), bearer(""), {"X-API-Key": "wrong"}, {"Authorization": "Basic eA=="}],
)
@pytest.mark.parametrize(
    "path", ["/v1/orders", "/v1/orders/0", "/v1/algorithms", "/v1/queues", "/metrics"]
)
def test_without_a_known_key_nothing_is_shown(
    keyed: TestClient, path: str, headers: dict[str, str]
) -> None:
    """401 that says how to come in, and never repeats what was sent."""
    answer = keyed.get(path, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "key_missing")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert "wrong" not in answer.text


@pytest.mark.parametrize("key", [CLERK, CHIEF])
@pytest.mark.parametrize("name", ["Authorization", "X-API-Key"])
def test_a_key_that_may_order_orders_and_reads(
    keyed: TestClient, order_body: OrderBody, key: str, name: str
) -> None:
    """Either header; `admin` implies everything."""
    headers = {name: key if name == "X-API-Key" else f"bearer {key}"}
    path = keyed.post("/v1/orders", json=order_body(), headers=headers).headers["location"]
    assert keyed.get(path, headers=headers).status_code == 200


def test_a_key_that_may_read_cannot_order(keyed: TestClient, order_body: OrderBody) -> None:
    """403 that names the scopes it has and the ones that would do."""
    assert keyed.get("/v1/orders", headers=bearer(READER)).status_code == 200
    answer = keyed.post("/v1/orders", json=order_body(), headers=bearer(READER))
    assert (answer.status_code, answer.json()["code"]) == (403, "key_refused")
    assert READER not in answer.text


def test_a_stranger_is_refused_before_the_body_is_looked_at(keyed: TestClient) -> None:
    """401 even for a body that is too large and is no JSON."""
    answer = keyed.post(
        "/v1/orders", content=b"x" * 2_000_000, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 401


def test_two_callers_with_the_same_idempotency_key_do_not_meet(
    keyed: TestClient, order_body: OrderBody
) -> None:
    """The key belongs to who sent it."""
    ids = {
        keyed.post(
            "/v1/orders", json=order_body(), headers=bearer(key) | {"Idempotency-Key": "1"}
        ).json()["id"]
        for key in (CLERK, CHIEF)
    }
    assert len(ids) == 2


@pytest.mark.parametrize(
    "host", ["evil.example.org", "127.0.0.1.evil.example.org", "localhost@evil.example", "[::1", ""]
)
def test_without_keys_another_host_name_is_refused(api: TestClient, host: str) -> None:
    """A page that points its own name at loopback (DNS rebinding) reads nothing."""
    answer = api.get("/v1/orders", headers={"Host": host})
    assert (answer.status_code, answer.json()["code"]) == (403, "loopback_only")


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000"])
def test_without_keys_loopback_may_do_all(api: TestClient, host: str) -> None:
    """Every way to write loopback will do."""
    assert api.get("/v1/orders", headers={"Host": host}).status_code == 200


def test_without_keys_a_caller_from_elsewhere_is_refused(config: Config, store: OrderStore) -> None:
    """Even where something forwards strangers with a loopback Host."""
    api = TestClient(
        create_app(config, store), base_url="http://localhost", client=("203.0.113.7", 4711)
    )
    assert api.get("/v1/orders").status_code == 403


def test_only_health_and_the_description_are_open(keyed: TestClient) -> None:
    """An orchestrator needs no key, nor does whoever reads how the API is used."""
    assert keyed.get("/healthz").json() == {"status": "ok"}
    assert keyed.get("/readyz").status_code == 503
    assert keyed.get("/openapi.json").status_code == 200
    assert keyed.get("/docs").status_code == 200
    for path in ("/metrics", "/v1/algorithms", "/v1/queues", "/v1/orders"):
        assert keyed.get(path).status_code == 401
        assert keyed.get(path, headers=bearer(READER)).status_code == 200
