"""What is logged while work is done: how far it is, and that it makes no progress."""

import logging
import threading
import time
from collections.abc import Iterator

import pytest

from broker.order_store import Claim, OrderStore
from broker.settings.config import BrokerSettings
from worker.process.lease import Lease, Limits
from worker.process.progress_log import ProgressLog, ProgressSnapshot

STILL_S = 3.0
"""A limit whose second half is many heartbeats long on a busy machine too."""


@pytest.fixture(autouse=True)
def _lines_of_every_level(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.INFO, "worker.process.progress_log"):
        yield


def test_a_scan_says_how_far_it_is(claim: Claim, caplog: pytest.LogCaptureFixture) -> None:
    """Done, total, the speed since the last line, and the time left; each also a field."""
    progress_log = ProgressLog(claim, interval_s=0)
    progress_log.write(ProgressSnapshot("classifying", 100, 800, None, still_s=2.0), 300)
    progress_log._counting_since -= 2
    progress_log.write(ProgressSnapshot("classifying", 120, 800, 68.0, still_s=0.0), 300)
    first, second = caplog.records
    assert first.getMessage() == "classifying: 100 of 800 tiles, 0.0 tiles/s"
    assert second.getMessage().startswith("classifying: 120 of 800 tiles, 10.0 tiles/s, 68 s to go")
    fields = vars(second)
    assert (fields["work"], fields["stage"], fields["done"], fields["total"]) == (
        claim.work,
        "fetch",
        120,
        800,
    )
    assert (fields["step"], fields["per_s"], fields["eta_s"]) == ("classifying", 10.0, 68.0)


def test_it_speaks_no_more_often_than_it_should(
    claim: Claim, caplog: pytest.LogCaptureFixture
) -> None:
    """A line for every report would bury all others."""
    progress_log = ProgressLog(claim, interval_s=1000)
    for done in range(50):
        progress_log.write(ProgressSnapshot("classifying", done, 800, None, 0.0), 300)
    assert caplog.records == []
    progress_log._logged_at -= 1001
    progress_log.write(ProgressSnapshot("classifying", 60, 800, None, 0.0), 300)
    progress_log.write(ProgressSnapshot("classifying", 70, 800, None, 0.0), 300)
    assert [vars(line)["done"] for line in caplog.records] == [60]


def test_a_stage_that_is_silent_for_half_its_limit_says_so_once(
    claim: Claim, caplog: pytest.LogCaptureFixture
) -> None:
    """With a code to search for; again only after progress in between."""
    progress_log = ProgressLog(claim, interval_s=1000)
    for still_s in (149.0, 151.0, 200.0, 299.0, 0.0, 151.0):
        progress_log.write(ProgressSnapshot("fetching", 5, 10, None, still_s), 300)
    assert [line.getMessage() for line in caplog.records] == [
        "no progress for 151 s while fetching; at 300 s it is given up"
    ] * 2
    assert {(vars(line)["code"], line.levelname) for line in caplog.records} == {
        ("slow_stage", "WARNING")
    }


def test_work_that_hangs_is_heard_before_it_is_given_up(
    store: OrderStore,
    claim: Claim,
    broker_settings: BrokerSettings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """From the lease's own thread, since the work itself is stuck."""
    quick = broker_settings.model_copy(update={"heartbeat_s": 0.05})
    given_up = threading.Event()
    lease = Lease(
        store, claim, quick, Limits(1000, STILL_S), threading.Event(), lambda _: given_up.set()
    )
    with lease:
        lease.report("fetching", 5, 10)
        assert given_up.wait(30)
    assert [vars(line)["code"] for line in caplog.records] == ["slow_stage"]
    assert time.monotonic() - lease._moved_at > STILL_S
