"""Without keys, no other web page changes anything."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from broker.order_store import OrderStore
from broker.settings.config import Config
from services.app import create_app

OrderBody = Callable[..., dict[str, Any]]
FOREIGN = [
    {"Origin": "https://evil.example.org"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://127.0.0.1:3000"},
    {"Origin": "http://localhost:8000"},
    {"Origin": "https://127.0.0.1:8000"},
    {"Origin": "http://127.0.0.1:8000.evil.example.org"},
    {"Origin": "http://user@127.0.0.1:8000"},
    {"Origin": "http://[::1"},
    {"Origin": "file://"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "something-new"},
    {"Origin": "http://127.0.0.1:8000", "Sec-Fetch-Site": "cross-site"},
]
OWN = [
    {},
    {"Origin": "http://127.0.0.1:8000"},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "http://LOCALHOST:8000", "Host": "localhost:8000", "Sec-Fetch-Site": "same-origin"},
    {"Origin": "http://[::1]:8000", "Host": "[::1]:8000"},
    {"Origin": "http://localhost", "Host": "localhost:80"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_what_another_page_sends_changes_nothing(
    api: TestClient, order_body: OrderBody, headers: dict[str, str]
) -> None:
    """403 for an order, a cancellation and a preflight; nothing is stored."""
    path = api.post("/v1/orders", json=order_body()).headers["location"]
    for method, target in (
        ("POST", "/v1/orders"),
        ("POST", f"{path}/cancel"),
        ("OPTIONS", "/v1/orders"),
        ("DELETE", path),
    ):
        answer = api.request(method, target, json=order_body(), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin")
        assert answer.headers["content-type"] == "application/problem+json"
        assert "access-control-allow-origin" not in answer.headers
    (order,) = api.get("/v1/orders").json()["orders"]
    assert order["state"] == "queued"


def test_it_is_refused_before_anything_else_is_looked_at(api: TestClient) -> None:
    """Address, method, type, size and JSON of the body could all be refused; none of them is."""
    headers = {"Origin": "null", "Host": "evil.example.org", "Content-Type": "text/plain"}
    for method, path in (("POST", "/v1/orders"), ("POST", "/nowhere"), ("PUT", "/v1/orders")):
        answer = api.request(method, path, content=b"x" * 100_000, headers=headers)
        assert answer.json()["code"] == "foreign_origin"
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("headers", OWN, ids=str)
def test_programs_and_own_pages_pass(
    api: TestClient, order_body: OrderBody, headers: dict[str, str]
) -> None:
    """A program sends neither header, the API's own page sends its own address."""
    assert api.post("/v1/orders", json=order_body(), headers=headers).status_code == 202


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_reading_is_not_refused(api: TestClient, headers: dict[str, str]) -> None:
    """A link on another page may lead here; that page cannot read the answer."""
    answer = api.get("/v1/orders", headers=headers)
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_name_that_was_pointed_at_loopback_is_foreign(
    api: TestClient, order_body: OrderBody
) -> None:
    """DNS rebinding: Origin and Host agree, and neither is loopback."""
    headers = {"Origin": "http://evil.example.org:8000", "Host": "evil.example.org:8000"}
    answer = api.post("/v1/orders", json=order_body(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin")


def test_with_keys_a_page_of_another_site_changes_nothing_either(
    keyed: TestClient, order_body: OrderBody
) -> None:
    """A browser may hold a session that the page does not know of; a program has no Origin."""
    key = {"X-API-Key": "order-key-1"}
    headers = {"Origin": "https://viewer.example.org"} | key
    assert keyed.post("/v1/orders", json=order_body(), headers=headers).status_code == 403
    assert keyed.post("/v1/orders", json=order_body(), headers=key).status_code == 202


@pytest.mark.parametrize(
    "header", ["Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP"]
)
def test_without_keys_a_proxy_is_no_caller_on_this_machine(
    config: Config, announced: OrderStore, header: str
) -> None:
    """Whatever it says about its caller, who is not known."""
    api = TestClient(
        create_app(config, announced), base_url="http://localhost", client=("127.0.0.1", 1)
    )
    for value in ("127.0.0.1", "for=127.0.0.1", "203.0.113.7"):
        answer = api.get("/v1/orders", headers={header: value})
        assert (answer.status_code, answer.json()["code"]) == (403, "loopback_only")
        assert header in answer.json()["detail"]
