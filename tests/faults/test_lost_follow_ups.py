"""Couriers that are killed between the results and what follows them at Techcyte."""

from pathlib import Path
from typing import Any

import pytest

from demo.faults import Fault
from demo.techcyte import CASE, DEBUG, TechcyteReceiver
from tests.faults.fleet import Fleet
from tests.faults.orders import delivered, log, order_body, role_of
from tests.support.stack import wait_for


@pytest.mark.parametrize("at", [f"PATCH {CASE}", f"PUT {DEBUG}"], ids=["triage", "debug file"])
def test_a_courier_killed_between_results_and_what_follows(
    fleet: Fleet, lab: TechcyteReceiver, slides: Path, at: str
) -> None:
    """The next one does both again; the results are sent once."""
    lab.faults.replace([Fault(on=at, slow_s=3600)] * 2)  # the courier gives up each after 3 s
    body: dict[str, Any] = order_body(slides, lab)
    body["destination"] |= {
        "triage": {"category": "High"},
        "debug_file_upload_url": lab.debug_url(),
    }
    order_id = fleet.order(**body)
    wait_for(lambda: len(lab.faults) < 2, what="the request that follows the results")
    holder = log(fleet, order_id).rpartition("deliver taken by ")[2].split()[0]
    fleet.kill(role_of(fleet, holder))
    assert fleet.get(order_id)["state"] == "delivering"
    lab.faults.replace([])
    fleet.tend()
    order = delivered(fleet, order_id)
    assert len(lab.ledger) == len(lab.evaluations) == 1
    assert [attempt["outcome"] for attempt in order["delivery"]["attempts"]] == ["accepted"]
    assert lab.triage == {"185714": {"triage_category": "High"}}
    assert list(lab.debug_files) == ["debug.zip"]
    assert order["warnings"] == []
