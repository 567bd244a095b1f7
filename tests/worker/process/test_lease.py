"""A lease is renewed while its work moves, and stops the work when it must end."""

import threading
import time
from collections.abc import Callable

import pytest

from broker.errors import Problem
from broker.order_store import Claim, OrderStore
from broker.settings.config import BrokerSettings
from worker.process.lease import Lease, Limits
from worker.progress import StopWork

LONG = Limits(1000, 1000)
LEASE_S = 3.0
"""Sixty heartbeats: a busy machine may keep the thread that renews it waiting for long."""


@pytest.fixture
def quick(broker_settings: BrokerSettings) -> BrokerSettings:
    return broker_settings.model_copy(update={"lease_s": LEASE_S, "heartbeat_s": 0.05})


@pytest.fixture
def store(quick: BrokerSettings) -> OrderStore:
    return OrderStore.connect(quick)


def until(condition: Callable[[], object]) -> None:
    tick = threading.Event()
    for _ in range(1500):
        if condition():
            return
        tick.wait(0.02)
    raise AssertionError("it never came true")


def stop_reason(lease: Lease) -> str:
    reasons: list[str] = []

    def stopped() -> bool:
        try:
            lease.check()
        except StopWork as stop:
            reasons.append(str(stop))
        return bool(reasons)

    until(stopped)
    return reasons[0]


def a_lease(
    store: OrderStore,
    claim: Claim,
    settings: BrokerSettings,
    limits: Limits = LONG,
    leaving: threading.Event | None = None,
) -> tuple[Lease, list[Problem]]:
    given_up: list[Problem] = []
    return Lease(
        store, claim, settings, limits, leaving or threading.Event(), given_up.append
    ), given_up


def test_a_lease_outlives_its_length_while_it_is_held(
    store: OrderStore, claim: Claim, quick: BrokerSettings
) -> None:
    """The heartbeat renews it, and carries the progress into the record."""
    lease, _ = a_lease(store, claim, quick)
    order_id = claim.work.partition(".")[0]
    with lease:
        lease.report("fetching", 1, 4)
        began = store.get(order_id).updated_at
        until(lambda: store.get(order_id).scans[0].progress.done == 1)
        until(
            lambda: (
                not store.due()
                and store.check_lease(claim) == "ok"
                and store._now_ms() / 1000 - began > LEASE_S + 1
            )
        )


def test_a_cancelled_order_stops_its_work(
    store: OrderStore, claim: Claim, quick: BrokerSettings
) -> None:
    """At the next step, within a heartbeat."""
    lease, _ = a_lease(store, claim, quick)
    with lease:
        store.cancel(claim.work.partition(".")[0])
        assert stop_reason(lease) == "lost"


def test_out_of_touch_with_redis_for_a_lease_is_lost(claim: Claim, quick: BrokerSettings) -> None:
    """Another worker may hold the work by now, so one that is cut off stops by itself."""
    away = OrderStore.connect(quick.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"}))
    lease, _ = a_lease(away, claim, quick)
    with lease:
        assert stop_reason(lease) == "lost"


def test_work_that_does_not_move_is_given_up(
    store: OrderStore, claim: Claim, quick: BrokerSettings
) -> None:
    """The same report again is no progress; the problem names the limit and the step."""
    lease, given_up = a_lease(store, claim, quick, Limits(1000, 0.2))
    with lease:
        lease.report("fetching", 5, 10)
        until(lambda: given_up)
        assert stop_reason(lease) == "stalled"
    assert "0.2 s while fetching" in given_up[0].detail
    assert given_up[0].blame == ("algorithm" if claim.stage == "classify" else "platform")


def test_work_that_moves_without_a_report_is_not_given_up(
    store: OrderStore, claim: Claim, quick: BrokerSettings
) -> None:
    """As what computes and cannot say how far it is."""
    lease, given_up = a_lease(store, claim, quick, Limits(1000, 2))
    with lease:
        lease.report("aggregating", 0, 1)
        began_at = time.monotonic()

        def has_moved_for_long() -> bool:
            lease.moved()
            return time.monotonic() - began_at > 5

        until(has_moved_for_long)
        lease.check()
        assert given_up == []


def test_work_that_takes_too_long_is_given_up(
    store: OrderStore, claim: Claim, quick: BrokerSettings
) -> None:
    """Even while it moves."""
    lease, given_up = a_lease(store, claim, quick, Limits(0.2, 0.2))
    with lease:
        until(lambda: given_up)
    assert given_up[0].code in ("time_limit", "stalled")


def test_a_process_that_leaves_stops_its_work(
    store: OrderStore, claim: Claim, quick: BrokerSettings
) -> None:
    """So that it can be handed back at once."""
    leaving = threading.Event()
    lease, _ = a_lease(store, claim, quick, leaving=leaving)
    with lease:
        lease.report("fetching", 1, 2)
        leaving.set()
        assert stop_reason(lease) == "leaving"
