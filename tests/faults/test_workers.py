"""Workers and couriers that die, or sleep longer than their lease, in the middle of an order."""

import re
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from demo.techcyte import TOKEN_PATH, TechcyteReceiver
from tests.faults.fleet import Fleet
from tests.faults.orders import delivered, held, log, order_body, role_of
from tests.support.stack import wait_for


def test_an_order_that_always_kills_its_worker_fails_and_others_are_served(
    fleet: Fleet, lab: TechcyteReceiver, slides: Path
) -> None:
    """Three workers lost are enough: the scan fails with what was seen, and the next order is delivered."""
    fleet.gate.close()
    order_id = fleet.order(**order_body(slides, lab, algorithm="ki67", slide="large.svs"))
    for lost in range(3):
        wait_for(partial(_was_lost, fleet, order_id, lost), what="its worker being missed")
        fleet.kill_child(held(fleet, order_id))
    order = fleet.wait_until(order_id, "failed", "delivered")
    assert order["scans"][0]["error"]["code"] == "worker_lost"
    assert lab.ledger == []
    delivered(fleet, fleet.order(**order_body(slides, lab)))


def test_a_frozen_worker_that_goes_on_writes_nothing(
    fleet: Fleet, lab: TechcyteReceiver, slides: Path
) -> None:
    """It slept past its lease, another did its scan; awake again it is refused, and the record stays as it was."""
    fleet.gate.close()
    order_id = fleet.order(**order_body(slides, lab, algorithm="ki67", slide="large.svs"))
    sleeper = held(fleet, order_id)
    fleet.freeze(sleeper)
    fleet.gate.open()
    delivered(fleet, order_id)
    before, said = fleet.store.get(order_id), _said(fleet, sleeper)
    assert len(re.findall("classify taken by", log(fleet, order_id))) == 2
    fleet.thaw(sleeper)
    wait_for(lambda: _said(fleet, sleeper) > said, what="the sleeper being refused")
    assert fleet.store.get(order_id) == before
    assert len(lab.ledger) == 1


def _was_lost(fleet: Fleet, order_id: str, times: int) -> bool:
    return log(fleet, order_id).count("lost by") == times


def _said(fleet: Fleet, role: str) -> int:
    return (fleet.data / f"{role}.log").read_text().count("stopped: ")


@pytest.mark.timeout(120)
def test_a_frozen_courier_that_goes_on_posts_nothing(fleet: Fleet, slides: Path) -> None:
    """It fell asleep right before its post, another delivered; awake again it finds that it may not post any more."""
    with _Holding(any_task=True) as lab:
        order = order_body(slides, lab)
        key = {"api_key_id": lab.api_key_id, "api_key_secret": lab.api_key_secret}
        order["destination"] = {
            name: v for name, v in order["destination"].items() if name != "jwt_token"
        } | key
        order_id = fleet.order(**order)
        assert lab.asked.wait(60)
        sleeper = role_of(fleet, re.findall(r"deliver taken by (\S+)", log(fleet, order_id))[0])
        fleet.freeze(sleeper)
        said = _said(fleet, sleeper)
        lab.answered.set()
        delivered(fleet, order_id)
        fleet.thaw(sleeper)
        wait_for(lambda: _said(fleet, sleeper) > said, what="the sleeper giving up")
        assert len(lab.ledger) == 1


class _Holding(TechcyteReceiver):
    """Answers the first request for a token only when it is told to."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.asked, self.answered = threading.Event(), threading.Event()

    def answer(self, request: Any) -> Any:
        if request.path == TOKEN_PATH and not self.asked.is_set():
            self.asked.set()
            self.answered.wait(30)
        return super().answer(request)
