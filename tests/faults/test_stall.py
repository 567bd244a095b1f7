"""Redis restarted under idle and busy workers: not that they live is shown, but that each of them consumes again."""

from pathlib import Path

import pytest

from demo.techcyte import TechcyteReceiver
from tests.faults.fleet import REDIS, Fleet
from tests.faults.orders import delivered, held, order_body

PAIRS = (("courier-1", "worker-1"), ("courier-2", "worker-2"))


def each_consumes(fleet: Fleet, lab: TechcyteReceiver, slides: Path) -> None:
    """With the other pair frozen, a new order gets through each courier and each worker."""
    for asleep in PAIRS:
        fleet.tend()  # Celery 5.7.0 may end a worker whose broker goes away; every deployment starts it again
        for role in asleep:
            fleet.freeze(role)
        delivered(fleet, fleet.order(**order_body(slides, lab)))
        for role in asleep:
            fleet.thaw(role)


@pytest.mark.timeout(180)
def test_idle_workers_consume_again_after_a_restart_of_redis(
    fleet: Fleet, lab: TechcyteReceiver, slides: Path
) -> None:
    """Killed while all of them wait for work, and started again."""
    fleet.kill(REDIS)
    fleet.start(REDIS)
    each_consumes(fleet, lab, slides)
    assert len(lab.ledger) == len(PAIRS)


@pytest.mark.timeout(180)
def test_busy_workers_finish_and_consume_again_after_a_restart_of_redis(
    fleet: Fleet, lab: TechcyteReceiver, slides: Path
) -> None:
    """Killed in the middle of their scans: these are delivered once, and so is what comes later."""
    fleet.gate.close()
    placed = [
        fleet.order(**order_body(slides, lab, algorithm="ki67", slide="large.svs"))
        for _ in range(2)
    ]
    for order_id in placed:
        held(fleet, order_id)
    fleet.kill(REDIS)
    fleet.start(REDIS)
    fleet.gate.open()
    for order_id in placed:
        delivered(fleet, order_id)
    each_consumes(fleet, lab, slides)
    assert len(lab.ledger) == len(placed) + len(PAIRS)
