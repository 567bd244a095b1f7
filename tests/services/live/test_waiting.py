"""`Prefer: wait=N`: one request that is answered once its order has ended."""

import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from broker.order_store import OrderStore
from broker.settings.config import Config, load
from services.app import create_app
from tests.support.events import Running, serving
from tests.support.redis_servers import wait_for

OrderBody = Callable[..., dict[str, Any]]
Place = Callable[..., str]
Work = Callable[[str], None]
WAIT = {"Prefer": "wait=50"}


def worked_on(store: OrderStore, work: Work) -> threading.Thread:
    """Do the work on the next order that is placed, in a thread."""

    def work_on_it() -> None:
        wait_for(lambda: store.find(limit=1).orders)
        work(store.find(limit=1).orders[0].id)

    thread = threading.Thread(target=work_on_it)
    thread.start()
    return thread


def test_an_order_that_ends_in_time_is_answered_with_its_end(
    served: Running, announced: OrderStore, order_body: OrderBody, run_through: Work
) -> None:
    """200 in place of 202, as soon as it has ended and not after the whole time."""
    worker = worked_on(announced, run_through)
    began = time.monotonic()
    url = f"http://127.0.0.1:{served.port}"
    answer = httpx.post(f"{url}/v1/orders", json=order_body(), headers=WAIT, timeout=60)
    assert time.monotonic() - began < 45
    worker.join()
    assert (answer.status_code, answer.json()["state"]) == (200, "delivered")
    assert answer.headers["preference-applied"] == "wait=50"
    assert answer.headers["location"] == f"/v1/orders/{answer.json()['id']}"


def test_an_order_that_does_not_end_is_answered_as_accepted(
    api: TestClient, order_body: OrderBody
) -> None:
    """202 when the time is over, with how the order stands then."""
    answer = api.post("/v1/orders", json=order_body(), headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    assert answer.headers["preference-applied"] == "wait=1"
    assert answer.headers["location"] == f"/v1/orders/{answer.json()['id']}"


def test_one_order_is_shown_once_it_has_ended(
    served: Running, place: Place, announced: OrderStore
) -> None:
    """Also to a caller that knows how it stood before."""
    order_id = place()
    url = f"http://127.0.0.1:{served.port}/v1/orders/{order_id}"
    tag = httpx.get(url).headers["etag"]
    answers: list[httpx.Response] = []

    def ask(headers: dict[str, str]) -> None:
        answers.append(httpx.get(url, headers=headers, timeout=60))

    askers = [
        threading.Thread(target=ask, args=(headers,))
        for headers in (WAIT, WAIT | {"If-None-Match": tag})
    ]
    for asker in askers:
        asker.start()
    wait_for(lambda: len(served.app.state.feed._followers) == 2)
    announced.cancel(order_id)
    for asker in askers:
        asker.join()
    assert [answer.status_code for answer in answers] == [200, 200]
    assert {answer.json()["state"] for answer in answers} == {"cancelled"}


def test_an_order_that_has_ended_is_shown_at_once(
    api: TestClient, place: Place, announced: OrderStore
) -> None:
    """And one that is deleted or not there as without waiting."""
    order_id = place()
    announced.cancel(order_id)
    began = time.monotonic()
    answer = api.get(f"/v1/orders/{order_id}", headers=WAIT)
    assert answer.headers["preference-applied"] == "wait=50"
    assert api.get("/v1/orders/absent", headers=WAIT).status_code == 404
    assert time.monotonic() - began < 40


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [
        ("wait=0", "wait=0"),
        ("respond-async, wait=0", "wait=0"),
        ('wait="0"; foo=bar', "wait=0"),
        ("WAIT = 0", "wait=0"),
        ("wait=-1", None),
        ("wait=soon", None),
        ("wait", None),
        ("return=minimal", None),
        ("", None),
    ],
)
def test_preferences_are_read_as_rfc_7240_writes_them(
    api: TestClient, order_body: OrderBody, prefer: str, applied: str | None
) -> None:
    """What is no number of seconds is passed over, as a preference that is not known."""
    answer = api.post("/v1/orders", json=order_body(), headers={"Prefer": prefer})
    assert answer.status_code == 202
    assert answer.headers.get("preference-applied") == applied


def test_nobody_waits_longer_than_a_minute(
    api: TestClient, place: Place, announced: OrderStore
) -> None:
    """The answer says how long it would have been."""
    order_id = place()
    announced.cancel(order_id)
    answer = api.get(f"/v1/orders/{order_id}", headers={"Prefer": "wait=86400"})
    assert answer.headers["preference-applied"] == "wait=60"


def test_a_list_of_orders_is_not_waited_for(api: TestClient, order_body: OrderBody) -> None:
    """Each has its own end."""
    answer = api.post("/v1/orders", json=[order_body()], headers=WAIT)
    assert answer.status_code == 207
    assert "preference-applied" not in answer.headers


def test_where_too_many_wait_the_next_is_answered_at_once(
    config: Config, announced: OrderStore, order_body: OrderBody, place: Place
) -> None:
    """The order is placed all the same."""
    few = load(**config.model_dump() | {"services": {"max_connections": 2}})
    with serving(create_app(few, announced), few) as running:
        with running.stream(f"/v1/events?orders={place()}") as stream:
            next(stream.blocks())
            url = f"http://127.0.0.1:{running.port}/v1/orders"
            answer = httpx.post(url, json=order_body(), headers=WAIT, timeout=60)
        assert answer.status_code == 202
        assert "preference-applied" not in answer.headers


def test_waiting_requests_cost_no_thread_and_end_with_the_service(
    config: Config, announced: OrderStore, place: Place
) -> None:
    """Many wait, one thread reads for all of them, and the service stops at once."""
    with serving(create_app(config, announced), config) as running:
        url = f"/v1/orders/{place()}"
        before = threading.active_count()
        asked: list[threading.Thread] = []
        for _ in range(60):
            asked.append(
                threading.Thread(target=lambda: running.stream(url, Prefer="wait=50").close())
            )
            asked[-1].start()
        wait_for(lambda: len(running.app.state.feed._followers) == 60)
        assert threading.active_count() - before - len(asked) <= 45  # the pool of threads
        assert running.stop() < 8
        for thread in asked:
            thread.join()
