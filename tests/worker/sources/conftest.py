"""What all tests of sources have in common."""

import pytest

from worker.sources.http import retrying_get


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five tries of a download would wait for 4 s, in each test of a server that never recovers.

    The pauses grow as ever, up to a lower limit.
    """
    monkeypatch.setattr(retrying_get, "_LONGEST_PAUSE_S", 0.25)
