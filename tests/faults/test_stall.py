"""Redis restarts under idle and busy workers, and each worker and courier consumes again."""

from pathlib import Path

import pytest

from demo.techcyte import TechcyteReceiver
from tests.faults.fleet import REDIS, Fleet
from tests.faults.orders import delivered, held, order_body

PAIRS = (("courier-1", "worker-1"), ("courier-2", "worker-2"))


def each_consumes(fleet: Fleet, lab: TechcyteReceiver, slides: Path) -> None:
    """Freeze one pair after the other, and have an order delivered by the pair that runs."""
    for frozen in PAIRS:
        # Celery 5.7.0 may end a worker whose broker goes away; every deployment restarts it
        fleet.tend()
        for role in frozen:
            fleet.freeze(role)
        delivered(fleet, fleet.order(**order_body(slides, lab)))
        for role in frozen:
            fleet.thaw(role)


@pytest.mark.timeout(180)
def test_idle_workers_consume_again_after_a_restart_of_redis(
    fleet: Fleet, lab: TechcyteReceiver, slides: Path
) -> None:
    """Redis is killed while all of them wait for work, and started again."""
    fleet.kill(REDIS)
    fleet.start(REDIS)
    each_consumes(fleet, lab, slides)
    assert len(lab.ledger) == len(PAIRS)


@pytest.mark.timeout(180)
def test_busy_workers_finish_and_consume_again_after_a_restart_of_redis(
    fleet: Fleet, lab: TechcyteReceiver, slides: Path
) -> None:
    """Redis is killed during their scans; these and later orders are delivered once."""
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
