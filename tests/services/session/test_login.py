"""Logging in: what is refused, how often it may be tried, and that no key ever comes back."""

import logging
from typing import Any

import pytest
from fastapi.testclient import TestClient

from broker.order_store import OrderStore
from broker.settings.config import Config
from services.app import create_app
from services.session.tries import _MOST_ADDRESSES, LoginTries
from tests.services.session.conftest import CLERK, SAME_ORIGIN

CANARY = "canary-5f2d9c"


def wrong(browser: TestClient, **headers: str) -> int:
    """Try to log in with a wrong key, and return the status."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return browser.post("/v1/session", json={"key": "wrong"}, headers=sent).status_code


def test_a_wrong_key_is_refused_as_everywhere(browser: TestClient) -> None:
    """The same problem as for a request with that key, and no cookie."""
    login = browser.post("/v1/session", json={"key": CANARY})
    other = browser.get("/v1/orders", headers={"X-API-Key": CANARY})
    assert login.status_code == other.status_code == 401
    assert login.json() | {"instance": ""} == other.json() | {"instance": ""}
    assert "set-cookie" not in login.headers


def test_a_sixth_wrong_key_within_a_minute_waits(browser: TestClient) -> None:
    """The right key waits too, or a guess could be told by its answer; programs do not."""
    assert [wrong(browser) for _ in range(6)] == [401] * 5 + [429]
    answer = browser.post("/v1/session", json={"key": CLERK})
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_logins")
    assert 0 < int(answer.headers["retry-after"]) <= 60
    assert browser.get("/v1/orders", headers={"X-API-Key": CLERK}).status_code == 200


def test_right_keys_are_not_counted(browser: TestClient) -> None:
    """Somebody who works at several desks logs in as often as needed."""
    statuses = [browser.post("/v1/session", json={"key": CLERK}).status_code for _ in range(8)]
    assert statuses == [204] * 8
    assert [wrong(browser) for _ in range(5)] == [401] * 5


def test_callers_of_one_proxy_are_counted_apart(browser: TestClient) -> None:
    """By the address that the nearest proxy adds, which comes last."""
    for number in range(5):
        assert wrong(browser, X_Forwarded_For=f"1.2.3.{number}, 198.51.100.1") == 401
    assert wrong(browser, X_Forwarded_For="9.9.9.9, 198.51.100.1") == 429
    assert wrong(browser, X_Forwarded_For="9.9.9.9, 198.51.100.2") == 401


def test_a_caller_that_invents_addresses_is_stopped_too(browser: TestClient) -> None:
    """Over one connection address at most sixty tries a minute are looked at."""
    statuses = [wrong(browser, X_Forwarded_For=f"198.51.100.{n}") for n in range(61)]
    assert statuses == [401] * 60 + [429]


def test_addresses_are_forgotten_before_they_fill_the_memory(browser: TestClient) -> None:
    """Those that tried longest ago first."""
    tries = LoginTries()
    for number in range(_MOST_ADDRESSES + 500):
        tries._note(f"peer {number}", 0.0)
    assert len(tries._tries) == _MOST_ADDRESSES
    assert "peer 0" not in tries._tries


@pytest.mark.parametrize(
    "body",
    [
        {}, {"key": ""}, {"key": "  "}, {"key": 7}, {"key": None}, {"key": ["a"]}, [], "a",
        {"key": CANARY * 200}, {"key": CANARY, "name": "a"},
    ],
    ids=range(10),
)  # fmt: skip
def test_what_is_no_login_is_refused(browser: TestClient, body: Any) -> None:
    """Nothing that was sent is repeated."""
    answer = browser.post("/v1/session", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert CANARY not in answer.text


def test_a_large_body_is_not_read(browser: TestClient) -> None:
    """Nobody has to be known to send one."""
    answer = browser.post("/v1/session", json={"key": "x" * 5000})
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    headers = {"Content-Type": "text/plain"}
    answer = browser.post("/v1/session", content=b'{"key":"a"}', headers=headers)
    assert answer.status_code == 415


def test_a_key_is_in_no_answer_and_in_no_line_of_the_log(
    browser: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a right key and of a wrong one, and of the token of the session."""
    caplog.set_level(logging.DEBUG)
    answers = [
        browser.post("/v1/session", json={"key": CANARY}),
        browser.post("/v1/session", json={"key": CLERK}),
        browser.get("/v1/session"),
        browser.get("/v1/orders"),
    ]
    (token,) = browser.cookies.values()
    answers.append(browser.delete("/v1/session"))
    shown = "".join(answer.text for answer in answers)
    shown += "".join(
        f"{name}: {value}\n"
        for answer in answers
        for name, value in answer.headers.items()
        if name != "set-cookie"
    )
    for secret in (CANARY, CLERK, token):
        assert secret not in shown
        assert secret not in caplog.text


def test_a_cookie_that_is_none_of_ours_opens_nothing(
    with_keys: Config, announced: OrderStore
) -> None:
    """Guesses, long ones, and the name of the other kind of connection."""
    app = create_app(with_keys, announced)
    for cookie in ("__Host-slidelane=guess", f"__Host-slidelane={'x' * 3000}", "slidelane=guess",
                   "__Host-slidelane=", "a=b; __Host-slidelane"):  # fmt: skip
        browser = TestClient(app, base_url="https://slides.example.org", headers=SAME_ORIGIN)
        answer = browser.get("/v1/orders", headers={"Cookie": cookie})
        assert (answer.status_code, answer.json()["code"]) == (401, "key_missing")
