"""The run of `make faults` with thirty orders and less time."""

import secrets
from pathlib import Path

import pytest

from tests.faults.harness import Size, Status, run
from tests.faults.report import history

THIRTY = Size(orders=30, faults_limit_s=20, drain_limit_s=120)


@pytest.mark.timeout(240)
def test_thirty_orders_under_fire_arrive_once(tmp_path: Path) -> None:
    """Processes are killed and frozen, receivers fail: nothing is lost, doubled or wrong."""
    seed = secrets.randbelow(10**6)
    print(f"the same plan again: make faults ORDERS=30 SEED={seed}")
    outcome = run(THIRTY, seed, tmp_path, _show_nothing)
    assert len(outcome.run.ledger.accepted) == THIRTY.orders
    assert outcome.run.process_faults
    assert not outcome.findings, "\n".join(
        "\n".join(history(outcome.run, found)) for found in outcome.findings[:3]
    )


def _show_nothing(status: Status) -> None:
    """A test has no progress bar."""
