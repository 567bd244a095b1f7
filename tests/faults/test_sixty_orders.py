"""The run of `make faults` with sixty orders and less time."""

import secrets
from pathlib import Path

import pytest

from tests.faults.harness import Seen, Size, run
from tests.faults.report import history

SIXTY = Size(orders=60, longest_war_s=30, longest_peace_s=120)


@pytest.mark.timeout(240)
def test_sixty_orders_under_fire_arrive_once(tmp_path: Path) -> None:
    """Workers, couriers, API and Redis are killed and frozen, receivers fail: nothing is lost, doubled or untrue."""
    seed = secrets.randbelow(10**6)
    print(f"the same plan again: make faults ORDERS=60 SEED={seed}")
    verdict = run(SIXTY, seed, tmp_path, _nobody_looks)
    assert len(verdict.run.book.promises) == SIXTY.orders
    assert verdict.run.blows
    assert not verdict.findings, "\n".join(
        "\n".join(history(verdict.run, found)) for found in verdict.findings[:3]
    )


def _nobody_looks(seen: Seen) -> None:
    """A test has no progress bar."""
