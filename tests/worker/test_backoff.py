"""The wait before another try."""

import pytest

from worker.backoff import backoff_s


@pytest.mark.parametrize(
    ("tries", "most_s"), [(0, 2.0), (1, 4.0), (5, 64.0), (8, 300.0), (10**9, 300.0)]
)
def test_the_wait_doubles_up_to_a_limit(tries: int, most_s: float) -> None:
    """It is at least half of the doubled wait, so that many that wait do not come at once."""
    waits_s = [backoff_s(2.0, 300.0, tries) for _ in range(100)]
    assert all(most_s / 2 <= wait_s <= most_s for wait_s in waits_s)
    assert len(set(waits_s)) > 1
