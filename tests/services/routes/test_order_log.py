"""The log of an order, as it stands and followed while the order runs."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from broker.order_store import OrderStore
from services.responses.order_log import added

OrderBody = Callable[..., dict[str, Any]]
A, B, C, D = ({"at": number, "text": "line"} for number in range(4))


def lines_of(text: str) -> list[str]:
    """The lines without their times."""
    return [line.partition(" ")[2] for line in text.splitlines()]


@pytest.mark.parametrize("tail", ["", "&tail=1"])
def test_a_log_is_followed_until_the_order_has_ended(
    api: TestClient, order_body: OrderBody, store: OrderStore, tail: str
) -> None:
    """What was written before, then each further line; the last one says how the order ended."""
    order_id = api.post("/v1/orders", json=order_body()).json()["id"]
    claim = store.claim(f"{order_id}.0", "fetch", "w")
    assert claim
    before = lines_of(api.get(f"/v1/orders/{order_id}/log").text)
    followed: list[str] = []

    def follow() -> None:
        followed.extend(lines_of(api.get(f"/v1/orders/{order_id}/log?follow=1{tail}").text))

    follower = threading.Thread(target=follow)
    follower.start()
    store.note(claim, log="the courier has something to say")
    store.give_back(claim)
    api.post(f"/v1/orders/{order_id}/cancel")
    follower.join(timeout=30)
    assert not follower.is_alive()
    whole = lines_of(api.get(f"/v1/orders/{order_id}/log").text)
    assert whole[: len(before)] == before
    assert "scan a: the courier has something to say" in whole
    if tail:
        assert followed == whole[-len(followed) :]
    else:
        assert followed == whole


def test_the_log_of_an_order_that_has_ended_is_all_there_is(
    api: TestClient, order_body: OrderBody
) -> None:
    """Followed or not."""
    order_id = api.post("/v1/orders", json=order_body()).json()["id"]
    api.post(f"/v1/orders/{order_id}/cancel")
    path = f"/v1/orders/{order_id}/log"
    assert api.get(f"{path}?follow=1").text == api.get(path).text
    assert api.get(f"{path}?follow=1&tail=1").text == api.get(f"{path}?tail=1").text
    assert api.head(f"{path}?follow=1").status_code == 200


@pytest.mark.parametrize("query", ["follow=2", "follow=", "follow=1&follow=1", "folow=1"])
def test_another_value_is_refused(api: TestClient, order_body: OrderBody, query: str) -> None:
    """Nobody waits for lines that never come."""
    order_id = api.post("/v1/orders", json=order_body()).json()["id"]
    answer = api.get(f"/v1/orders/{order_id}/log?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert answer.json()["field"] == query.partition("=")[0]


def test_nobody_follows_an_order_that_is_not_there(api: TestClient) -> None:
    """It is said before the answer begins."""
    assert api.get(f"/v1/orders/{'0' * 24}/log?follow=1").status_code == 404


def test_lines_are_told_apart_though_the_oldest_are_gone() -> None:
    """The record keeps the newest lines only."""
    assert added([], [A, B]) == [A, B]
    assert added([A, B], [A, B]) == []
    assert added([A, B], [A, B, C]) == [C]
    assert added([A, B, C], [C, D]) == [D]
    assert added([A, A], [A, A, A]) == [A]
    assert added([A, B], [C, D]) == [C, D]
