"""Callers that place an order twice: at the same time, or since they missed the answer."""

import json
import socket
import threading
from pathlib import Path
from typing import Any

from demo.techcyte import TechcyteReceiver
from tests.faults.fleet import Fleet
from tests.faults.orders import delivered, order_body
from tests.support.stack import wait_for

CALLERS = 50


def test_fifty_callers_with_the_same_key_make_one_order(
    fleet: Fleet, lab: TechcyteReceiver, slides: Path
) -> None:
    """All at once, and all get the id of the same order."""
    answers: list[tuple[int, Any]] = []
    order = order_body(slides, lab)
    ready = threading.Barrier(CALLERS)

    def place() -> None:
        ready.wait()
        answers.append(fleet.call("POST", "/v1/orders", order, {"Idempotency-Key": "all-at-once"}))

    threads = [threading.Thread(target=place) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {status for status, _ in answers} == {202}
    (order_id,) = {answer["id"] for _, answer in answers}
    delivered(fleet, order_id)
    assert len(lab.ledger) == 1


def test_a_caller_that_left_before_the_answer_finds_its_order_by_the_key(
    fleet: Fleet, lab: TechcyteReceiver, slides: Path
) -> None:
    """The order exists; the same key again gets its id instead of another order."""
    order = order_body(slides, lab) | {"labels": {"caller": "left"}}
    headers = {"Idempotency-Key": "left-early"}
    _send_and_leave(fleet, order, headers)
    existing = wait_for(lambda: _labelled(fleet, "left"), what="the order")
    status, answer = fleet.call("POST", "/v1/orders", order, headers)
    assert (status, [answer["id"]]) == (202, existing)
    delivered(fleet, answer["id"])
    assert _labelled(fleet, "left") == existing


def _send_and_leave(fleet: Fleet, order: dict[str, Any], headers: dict[str, str]) -> None:
    body = json.dumps(order).encode()
    lines = [
        "POST /v1/orders HTTP/1.1",
        f"Host: 127.0.0.1:{fleet.port}",
        "Content-Type: application/json",
    ]
    lines += [
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    with socket.create_connection(("127.0.0.1", fleet.port), timeout=5) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)


def _labelled(fleet: Fleet, caller: str) -> list[str]:
    status, page = fleet.call("GET", f"/v1/orders?label.caller={caller}")
    if status != 200:
        return []
    return [order["id"] for order in page["orders"]]
