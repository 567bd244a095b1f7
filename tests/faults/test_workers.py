"""Workers and couriers that die, or are frozen longer than their lease, during an order."""

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
    """After three lost workers the scan fails as `worker_lost`; the next order is delivered."""
    fleet.gate.close()
    order_id = fleet.order(**order_body(slides, lab, algorithm="ki67", slide="large.svs"))
    for lost in range(3):
        wait_for(
            partial(_was_lost, fleet, order_id, lost), what="the loss of its worker in the log"
        )
        fleet.kill_child(held(fleet, order_id))
    order = fleet.wait_until(order_id, "failed", "delivered")
    assert order["scans"][0]["error"]["code"] == "worker_lost"
    assert lab.ledger == []
    delivered(fleet, fleet.order(**order_body(slides, lab)))


def test_a_frozen_worker_that_goes_on_writes_nothing(
    fleet: Fleet, lab: TechcyteReceiver, slides: Path
) -> None:
    """Its lease ended and another did its scan; thawed, it is refused and changes no record."""
    fleet.gate.close()
    order_id = fleet.order(**order_body(slides, lab, algorithm="ki67", slide="large.svs"))
    frozen = held(fleet, order_id)
    fleet.freeze(frozen)
    fleet.gate.open()
    delivered(fleet, order_id)
    before = fleet.store.get(order_id)
    stops = _stop_count(fleet, frozen)
    assert len(re.findall("classify taken by", log(fleet, order_id))) == 2
    fleet.thaw(frozen)
    wait_for(lambda: _stop_count(fleet, frozen) > stops, what="the refusal of the frozen worker")
    assert fleet.store.get(order_id) == before
    assert len(lab.ledger) == 1


def _was_lost(fleet: Fleet, order_id: str, times: int) -> bool:
    return log(fleet, order_id).count("lost by") == times


def _stop_count(fleet: Fleet, role: str) -> int:
    """Return how often the process has logged that it stopped its work."""
    return (fleet.data / f"{role}.log").read_text().count("stopped: ")


@pytest.mark.timeout(120)
def test_a_frozen_courier_that_goes_on_posts_nothing(fleet: Fleet, slides: Path) -> None:
    """It froze right before its request, another delivered; thawed, it sends nothing."""
    with _DelayedTokens(any_task=True) as lab:
        order = order_body(slides, lab)
        destination = dict(order["destination"])
        del destination["jwt_token"]
        destination["api_key_id"] = lab.api_key_id
        destination["api_key_secret"] = lab.api_key_secret
        order["destination"] = destination
        order_id = fleet.order(**order)
        assert lab.requested.wait(60)
        frozen = role_of(fleet, re.findall(r"deliver taken by (\S+)", log(fleet, order_id))[0])
        fleet.freeze(frozen)
        stops = _stop_count(fleet, frozen)
        lab.answered.set()
        delivered(fleet, order_id)
        fleet.thaw(frozen)
        wait_for(
            lambda: _stop_count(fleet, frozen) > stops,
            what="the end of the frozen courier's attempt",
        )
        assert len(lab.ledger) == 1


class _DelayedTokens(TechcyteReceiver):
    """A receiver that answers the first request for a token only after `answered` is set."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.requested = threading.Event()
        self.answered = threading.Event()

    def answer(self, request: Any) -> Any:
        if request.path == TOKEN_PATH and not self.requested.is_set():
            self.requested.set()
            self.answered.wait(30)
        return super().answer(request)
