"""A disk that is full when the results are written."""

from pathlib import Path

import pytest

from demo.techcyte import TechcyteReceiver
from tests.faults.fleet import Fleet, may_mount
from tests.faults.orders import delivered, log, order_body
from tests.support.stack import wait_for


def test_results_that_find_no_room_are_made_again_when_there_is_some(
    fleet: Fleet, lab: TechcyteReceiver, slides: Path
) -> None:
    """The scan is retried: no partial result is visible, and the order is delivered."""
    results = fleet.data / "results"
    results.mkdir(exist_ok=True)
    if not may_mount(results):
        pytest.skip("needs the right to mount")
    for worker in ("worker-1", "worker-2"):
        fleet.kill(worker)
    order_id = fleet.order(**order_body(slides, lab))
    pid = fleet.start_on_a_full_disk("worker-1")
    try:
        wait_for(lambda: "is full" in log(fleet, order_id), what="the full disk")
        assert not list(Path(f"/proc/{pid}/root{results}").glob("*/[!.]*"))
    finally:
        fleet.kill("worker-1")
    fleet.tend()
    delivered(fleet, order_id)
    assert len(lab.ledger) == 1
