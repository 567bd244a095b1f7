"""With keys too, no other web page changes anything; the whole rule as a matrix."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

OrderBody = Callable[..., dict[str, Any]]
OWN_HOST = "slides.example.org"
KEY = {"X-API-Key": "order-key-1"}
OWN = [
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "https://slides.example.org"},
    {"Origin": "https://slides.example.org:443"},
    {"Origin": "http://slides.example.org"},
    {"Origin": "https://slides.example.org", "Sec-Fetch-Site": "same-origin"},
    {"Origin": "https://slides.example.org", "X-Forwarded-Proto": "https"},
    {"Origin": "https://s.example", "Host": "10.0.0.7:8000", "X-Forwarded-Host": "s.example"},
    {"Origin": "https://s.example:8443", "Host": "s.example:8443"},
]
FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "https://slides.example.org:8443"},
    {"Origin": "https://sub.slides.example.org"},
    {"Origin": "https://slides.example.org.evil.example"},
    {"Origin": "https://user@slides.example.org"},
    {"Origin": "https://slides.example.org/"},
    {"Origin": "http://slides.example.org", "X-Forwarded-Proto": "https"},
    {"Origin": "file://"},
    {"Origin": "https://[::1"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": ""},
    {"Origin": "https://slides.example.org", "Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
    {"Origin": "https://evil.example", "X-Forwarded-Host": "slides.example.org"},
]
COOKIES = [{}, {"Cookie": "__Host-slidelane=x"}, {"Cookie": "a=b; slidelane=x"}]


@pytest.mark.parametrize("cookie", COOKIES, ids=["no cookie", "secure", "loopback"])
@pytest.mark.parametrize("headers", FOREIGN, ids=range(len(FOREIGN)))
def test_another_page_is_refused_whatever_else_it_brings(
    keyed: TestClient, headers: dict[str, str], cookie: dict[str, str]
) -> None:
    """403 before address, key, method and body are looked at."""
    for method, path in (
        ("POST", "/v1/orders"),
        ("POST", "/v1/session"),
        ("DELETE", "/v1/orders/0"),
        ("PATCH", "/nowhere"),
        ("OPTIONS", "/v1/orders"),
        ("POST", "/kue/job"),
    ):
        answer = keyed.request(method, path, headers=headers | cookie | KEY)
        assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin")
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("cookie", COOKIES, ids=["no cookie", "secure", "loopback"])
@pytest.mark.parametrize("headers", OWN, ids=range(len(OWN)))
def test_pages_of_the_service_pass(
    keyed: TestClient, order_body: OrderBody, headers: dict[str, str], cookie: dict[str, str]
) -> None:
    """Also behind a proxy that says which host and scheme the browser asked."""
    answer = keyed.post("/v1/orders", json=order_body(), headers=headers | cookie | KEY)
    assert answer.status_code == 202


def test_a_program_passes_without_a_cookie_only(keyed: TestClient, order_body: OrderBody) -> None:
    """With the cookie of a session it must say where it comes from, as every browser does."""
    assert keyed.post("/v1/orders", json=order_body(), headers=KEY).status_code == 202
    for cookie in COOKIES[1:]:
        answer = keyed.post("/v1/orders", json=order_body(), headers=KEY | cookie)
        assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin")


@pytest.mark.parametrize("headers", FOREIGN, ids=range(len(FOREIGN)))
def test_reading_is_let_through(keyed: TestClient, headers: dict[str, str]) -> None:
    """No page of others can see the answer."""
    assert keyed.get("/v1/orders", headers=headers | KEY | COOKIES[1]).status_code == 200
    assert keyed.head("/v1/orders", headers=headers | KEY | COOKIES[1]).status_code == 200
