"""A key is exchanged for a cookie: its attributes, what it opens, and how it ends."""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from broker.order_store import OrderStore
from broker.order_store.keys import Key
from broker.order_store.live.sessions import IDLE_S, LIFE_S
from broker.settings.config import Config, load
from services.app import create_app
from services.session.cookie import LOOPBACK_NAME, SECURE_NAME
from tests.services.session.conftest import CHIEF, CLERK, READER, SAME_ORIGIN, entry

OrderBody = Callable[..., dict[str, Any]]
BEFORE_LOGIN = {"name": None, "scopes": [], "version": None, "flower": None, "needs_key": True}


def log_in(browser: TestClient, key: str = CLERK) -> str:
    """Log in, and return the Set-Cookie header."""
    answer = browser.post("/v1/session", json={"key": key})
    assert (answer.status_code, answer.content) == (204, b"")
    return str(answer.headers["set-cookie"])


def test_the_cookie_over_https_stays_in_the_browser_and_with_this_host(browser: TestClient) -> None:
    """No script reads it, no other site sends it, and nothing but https carries it."""
    cookie, *attributes = log_in(browser).split("; ")
    name, _, token = cookie.partition("=")
    assert name == "__Host-slidelane"
    assert set(attributes) == {
        "HttpOnly", f"Max-Age={LIFE_S}", "Path=/", "SameSite=strict", "Secure",
    }  # fmt: skip
    assert len(token) == 43  # 256 bits
    assert CLERK not in cookie


def test_on_the_machine_itself_the_cookie_has_another_name(own_browser: TestClient) -> None:
    """Browsers take no __Host- cookie over plain http; everything else is as over https."""
    cookie, *attributes = log_in(own_browser).split("; ")
    assert cookie.startswith("slidelane=")
    assert set(attributes) == {"HttpOnly", f"Max-Age={LIFE_S}", "Path=/", "SameSite=strict"}


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"X-Forwarded-Proto": "https"}, SECURE_NAME),
        ({"X-Forwarded-Proto": "https, http"}, SECURE_NAME),
        ({"X-Forwarded-Proto": "http"}, LOOPBACK_NAME),
        ({}, LOOPBACK_NAME),
    ],
    ids=["https", "two proxies", "http", "no proxy"],
)
def test_a_proxy_says_how_the_browser_came(
    own_browser: TestClient, headers: dict[str, str], name: str
) -> None:
    """The connection from the proxy is plain http."""
    answer = own_browser.post("/v1/session", json={"key": CLERK}, headers=headers)
    assert answer.headers["set-cookie"].startswith(f"{name}=")


def test_plain_http_from_elsewhere_gives_no_session(own_browser: TestClient) -> None:
    """Whoever listens on the way could take it."""
    headers = {"Host": "slides.example.org"}
    answer = own_browser.post("/v1/session", json={"key": CLERK}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "login_needs_https")
    assert "set-cookie" not in answer.headers


def test_a_session_does_what_its_key_may_do(browser: TestClient, order_body: OrderBody) -> None:
    """Without a header; the order belongs to the key."""
    assert browser.get("/v1/orders").status_code == 401
    log_in(browser)
    assert browser.post("/v1/orders", json=order_body()).status_code == 202
    (order,) = browser.get("/v1/orders").json()["orders"]
    assert order["created_by"] == "clerk"
    log_in(browser, READER)
    assert browser.post("/v1/orders", json=order_body()).json()["code"] == "key_refused"


@pytest.mark.parametrize(
    ("key", "name", "scopes"),
    [
        (CLERK, "clerk", ["order"]),
        (READER, "reader", ["read"]),
        (CHIEF, "chief", ["order", "read"]),
    ],
    ids=["order", "read", "admin"],
)
def test_a_session_never_administers(
    browser: TestClient, key: str, name: str, scopes: list[str]
) -> None:
    """It says who is logged in and what the page may offer."""
    log_in(browser, key)
    shown = browser.get("/v1/session").json()
    assert shown.pop("version")
    assert shown == {"name": name, "scopes": scopes, "flower": None, "needs_key": True}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Cookie": "a=b"},
        {"Cookie": "__Host-slidelane="},
        {"Authorization": "Basic dTpw"},
        {"X-API-Key": " "},
    ],
    ids=["nothing", "another cookie", "empty cookie", "another scheme", "empty key"],
)
def test_before_a_login_the_page_learns_that_a_key_is_needed_and_no_more(
    with_keys: Config, announced: OrderStore, headers: dict[str, str]
) -> None:
    """200: browsers print every 401 as an error, and nothing went wrong. No name, no version."""
    services = with_keys.services.model_dump() | {"page": {"flower": "https://f.example"}}
    config = load(**with_keys.model_dump() | {"services": services})
    stranger = TestClient(
        create_app(config, announced), base_url="https://a.example", headers=SAME_ORIGIN
    )
    answer = stranger.get("/v1/session", headers=headers)
    assert (answer.status_code, answer.json()) == (200, BEFORE_LOGIN)
    assert stranger.get("/v1/orders", headers=headers).status_code == 401


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        ({"X-API-Key": "wrong"}, "the API key is not known here"),
        ({"Authorization": "Bearer wrong"}, "the API key is not known here"),
        ({"Cookie": "__Host-slidelane=guess"}, "there is no such session, or it has ended"),
    ],
    ids=["key", "bearer", "session"],
)
def test_what_came_and_opens_nothing_is_told(
    browser: TestClient, headers: dict[str, str], detail: str
) -> None:
    """A caller that sent something is not told that it sent nothing."""
    answer = browser.get("/v1/session", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "key_missing")
    assert answer.json()["detail"] == detail


def test_a_key_in_a_header_comes_before_a_cookie(browser: TestClient) -> None:
    """A program that shares a cookie store with a browser is still the key that it sends."""
    log_in(browser, READER)
    headers = {"Authorization": f"Bearer {CHIEF}"}
    shown = browser.get("/v1/session", headers=headers).json()
    assert (shown["name"], shown["scopes"]) == ("chief", ["admin"])
    headers = {"Authorization": "Bearer wrong"}
    assert browser.get("/v1/session", headers=headers).status_code == 401


def test_logging_out_ends_the_session_everywhere(browser: TestClient) -> None:
    """The browser forgets the cookie, and a copy of it opens nothing any more."""
    log_in(browser)
    copy = dict(browser.cookies)
    answer = browser.delete("/v1/session")
    assert answer.status_code == 204
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert browser.get("/v1/orders").status_code == 401
    assert browser.get("/v1/session").json() == BEFORE_LOGIN
    browser.cookies.update(copy)
    ended = browser.get("/v1/session")
    assert (ended.status_code, ended.json()["code"]) == (401, "key_missing")
    assert browser.delete("/v1/session").status_code == 204


def test_logging_in_again_ends_the_session_before(browser: TestClient) -> None:
    """Nobody who set a cookie beforehand shares the new session."""
    log_in(browser)
    old = dict(browser.cookies)
    log_in(browser)
    assert dict(browser.cookies) != old
    browser.cookies.clear()
    browser.cookies.update(old)
    assert browser.get("/v1/session").status_code == 401


def test_redis_holds_no_key_and_no_token(browser: TestClient, announced: OrderStore) -> None:
    """Only the digests of both, and the name of the key."""
    log_in(browser)
    (token,) = browser.cookies.values()
    records = announced._client.records
    (key,) = records.keys(f"{Key.SESSION}*")
    assert key == Key.SESSION + hashlib.sha256(token.encode()).hexdigest()
    stored = records.get(key)
    assert json.loads(stored).keys() == {"key_name", "key_sha256", "ends_at_ms"}
    assert token not in stored
    assert CLERK not in stored


def test_a_session_ends_an_hour_after_its_last_use(
    browser: TestClient, announced: OrderStore
) -> None:
    """Each request prolongs it; Redis forgets it by itself."""
    log_in(browser)
    records = announced._client.records
    (key,) = records.keys(f"{Key.SESSION}*")
    assert IDLE_S - 60 < records.ttl(key) <= IDLE_S
    records.expire(key, 100)
    assert browser.get("/v1/session").status_code == 200
    assert records.ttl(key) > 100
    records.pexpire(key, 1)
    deadline = time.monotonic() + 10
    while records.exists(key) and time.monotonic() < deadline:
        pass
    assert browser.get("/v1/session").status_code == 401


def test_a_session_ends_after_eight_hours_however_much_it_is_used(
    browser: TestClient, announced: OrderStore
) -> None:
    """By the clock of Redis, which all processes share."""
    log_in(browser)
    records = announced._client.records
    (key,) = records.keys(f"{Key.SESSION}*")
    stored = json.loads(records.get(key))
    now_ms = announced.now_s() * 1000
    assert (LIFE_S - 60) * 1000 < stored["ends_at_ms"] - now_ms <= LIFE_S * 1000
    records.set(key, json.dumps(stored | {"ends_at_ms": now_ms - 1}), ex=IDLE_S)
    assert browser.get("/v1/session").status_code == 401
    assert not records.exists(key)


@pytest.mark.parametrize(
    "left",
    [[], [entry("clerk", "another key", scopes=["order"])], [entry("other", CLERK)]],
    ids=["removed", "replaced", "renamed"],
)
def test_a_session_ends_with_its_key(
    browser: TestClient, keys_path: Path, announced: OrderStore, left: list[Any]
) -> None:
    """Where the file of keys changes, nobody has to be told."""
    log_in(browser)
    assert browser.get("/v1/session").status_code == 200
    _write_again(keys_path, left)
    assert _ends(lambda: browser.get("/v1/session").status_code == 401)
    assert announced._client.records.keys(f"{Key.SESSION}*") == []


def test_what_a_key_may_do_changes_for_its_sessions_too(
    browser: TestClient, keys_path: Path, order_body: OrderBody
) -> None:
    """The session has no scopes of its own."""
    log_in(browser)
    _write_again(keys_path, [entry("clerk", CLERK, scopes=["read"])])
    assert _ends(lambda: browser.post("/v1/orders", json=order_body()).status_code == 403)
    assert browser.get("/v1/session").json()["scopes"] == ["read"]


def test_without_keys_nobody_logs_in(api: TestClient) -> None:
    """Everybody on this machine may do everything, and no cookie is given."""
    answer = api.post("/v1/session", json={"key": "any"})
    assert answer.status_code == 204
    assert "set-cookie" not in answer.headers
    shown = api.get("/v1/session").json()
    assert (shown["name"], shown["needs_key"]) == ("", False)
    assert set(shown["scopes"]) == {"order", "read", "admin"}
    assert api.post("/v1/session", headers={"Host": "evil.example"}).status_code == 403


def test_the_address_of_flower_is_that_of_the_settings(
    with_keys: Config, announced: OrderStore
) -> None:
    """The page cannot know where a browser reaches it."""
    address = "https://flower.example.org/tasks"
    services = with_keys.services.model_dump() | {"page": {"flower": address}}
    config = load(**with_keys.model_dump() | {"services": services})
    browser = TestClient(
        create_app(config, announced), base_url="https://a.example", headers=SAME_ORIGIN
    )
    log_in(browser)
    assert browser.get("/v1/session").json()["flower"] == address


def _write_again(path: Path, keys: list[Any]) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps(keys))
    new.replace(path)


def _ends(is_over: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if is_over():
            return True
    return False
