"""The life of orders as a model: any of its moves in any order on a real Redis, and what is true after each of them."""

import json
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test

from broker.errors import OrderError
from broker.order_store import Claim, OrderStore, TaskMessage
from broker.order_store.embedded_redis import EmbeddedRedis
from broker.order_store.redis_client import RedisClient
from broker.order_store.redis_url import RedisUrl
from broker.orders.request import OrderRequest
from broker.settings.config import BrokerSettings
from tests.support.lifecycle_invariants import check
from tests.support.lifecycle_workers import STAGES, THERE_ARE_ORDERS, WORKERS, AtWork, pick
from tests.support.record_snapshot import pass_time

DAY_S = 86400
KEEP_S = 8 * DAY_S
WAYS_OUT = {
    "retry": {"failed", "expired", "cancelled"},
    "deliver_again": {"undelivered", "cancelled"},
}
TIMES = st.sampled_from([2, 31, 31, 61, 61, 700, 9 * DAY_S])


class Life(AtWork):
    """Callers, the timer and time itself, around those who work."""

    def __init__(self, store: OrderStore, door: RedisClient) -> None:
        super().__init__(store, door)
        self.reopened: set[str] = set()

    def some_order(self, data: st.DataObject) -> str:
        return pick(data, list(self.now.orders))

    def deliveries(self) -> list[Claim]:
        return [claim for claim in self.held() if claim.stage == "deliver"]

    def rung(self, hints: tuple[TaskMessage, ...]) -> None:
        """Every hint names work that waits for this stage on this queue, and none twice."""
        now = self.picture()
        assert len({hint.work for hint in hints}) == len(hints)
        for hint in hints:
            assert hint.work in now.ready()
            assert (STAGES[now.works[hint.work]["state"]], now.works[hint.work]["queue"]) == (
                hint.stage,
                hint.queue,
            )

    @rule(
        scans=st.integers(1, 3),
        priority=st.sampled_from(["low", "normal", "urgent"]),
        key=st.sampled_from(["", "k"]),
        legs_done=st.sampled_from([0, 1, 1, 2]),
    )
    def order(self, scans: int, priority: str, key: str, legs_done: int) -> None:
        """The same key is the same order, however often it is asked for. Some orders get on quickly."""
        slides = [
            {"id": str(n), "source": {"type": "path", "path": "/a.svs"}} for n in range(scans)
        ]
        body = {"algorithm": "grid", "scans": slides, "priority": priority, "labels": {"case": "1"}}
        request = OrderRequest.model_validate_json(json.dumps(body))
        create = partial(self.store.create, request, queue="gpu", key=key or None, fingerprint="f")
        first = create()
        assert first.fresh == (first.order_id not in self.now.orders)
        self.rung(first.hints)
        assert not key or self.nothing_changes(lambda: create().order_id) == first.order_id
        for _ in range(legs_done):
            self.work_through(hint.work for hint in first.hints)

    @THERE_ARE_ORDERS
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """At once, or, while a delivery is under way, as soon as it is known how that went."""
        order_id = self.some_order(data)
        if self.now.ended(order_id) and self.now.orders[order_id]["state"] != "cancelled":
            with pytest.raises(OrderError, match="cannot be cancelled"):
                self.nothing_changes(lambda: self.store.cancel(order_id))
            return
        with self.taken_away([work for work in self.now.held() if work.startswith(f"{order_id}.")]):
            self.store.cancel(order_id)
        assert (
            self.picture().orders[order_id]["state"] == "cancelled" or order_id in self.now.held()
        )

    @precondition(lambda self: self.deliveries())
    @rule(data=st.data(), arrives=st.booleans(), comes_back=st.booleans())
    def cancel_on_the_way(self, data: st.DataObject, *, arrives: bool, comes_back: bool) -> None:
        """What arrived is delivered; what did not, or nobody can say, is not sent again."""
        claim = pick(data, self.deliveries())
        self.store.cancel(claim.work)
        assert self.store.renew(claim) == "cancel"
        if arrives:
            self.store.finish(claim, "delivered")
        elif comes_back:
            self.store.give_back(claim, delay_s=60)
        else:
            self.store.lost(claim.worker, "signal 9", work=claim.work)
        assert self.picture().orders[claim.work]["state"] == (
            "delivered" if arrives else "cancelled"
        )

    @THERE_ARE_ORDERS
    @rule(data=st.data(), wish=st.sampled_from(list(WAYS_OUT)))
    def reopen(self, data: st.DataObject, wish: str) -> None:
        """Where scans are missing they are done; where only the delivery is missing, that is."""
        order_id = self.some_order(data)
        missing = [scan for scan in self.now.scans(order_id) if scan["state"] != "classified"]
        allowed = self.now.orders[order_id]["state"] in WAYS_OUT[wish] and bool(missing) == (
            wish == "retry"
        )
        if not allowed:
            with pytest.raises(OrderError, match=r"is (tried|delivered) again"):
                self.nothing_changes(lambda: getattr(self.store, wish)(order_id))
            return
        hints = getattr(self.store, wish)(order_id)
        self.reopened.add(order_id)
        self.rung(hints)
        order = self.picture().orders[order_id]
        self.nothing_changes(
            lambda: self.door.ask("reopen", order_id, order["state"], 1, order["reopened"])
        )
        assert len(hints) == len(missing or [order_id])

    @rule(seconds=TIMES)
    def time_passes(self, seconds: int) -> None:
        """A heartbeat missed, a lease, a delay, a wait that ages, the life of an order and of its record."""
        pass_time(self.door.records, seconds)

    @rule(seconds=st.just(0) | TIMES, limit=st.sampled_from([1, 200]))
    def timer(self, seconds: int, limit: int) -> None:
        """However long nobody looked, and however little is looked at."""
        pass_time(self.door.records, seconds)
        self.rung(self.store.due(limit))

    @rule(worker=st.sampled_from(WORKERS), asked_to_go=st.booleans())
    def worker_is_gone(self, worker: str, *, asked_to_go: bool) -> None:
        """Nothing stays with it; having been asked to go counts for nothing."""
        lose = partial(self.store.lost, worker, "signal 9", asked_to_go=asked_to_go)
        had = [work for work, holder in self.now.held().items() if holder == worker]
        with self.taken_away(had):
            self.rung(lose())
        after = self.picture()
        assert worker not in after.held().values()
        for work in had:
            assert (
                int(after.works[work]["attempts"])
                == int(self.now.works[work]["attempts"]) - asked_to_go
            )
        assert self.nothing_changes(lose) == ()

    @THERE_ARE_ORDERS
    @rule(data=st.data(), days=st.sampled_from([0, 9]))
    def forget(self, data: st.DataObject, days: int) -> None:
        """Only what ended long ago, and then every trace of it."""
        pass_time(self.door.records, days * DAY_S)
        self.now = self.picture()
        order_id, ended = self.some_order(data), self.now.keys.get("sl:ended", {})
        is_old = order_id in ended and float(ended[order_id]) < self.now.at_ms - KEEP_S * 1000
        assert is_old == (order_id in self.store.forgettable())
        if is_old:
            self.store.forget(order_id)
            assert order_id not in repr(self.picture())
        elif not self.now.ended(order_id):
            self.nothing_changes(lambda: self.store.forget(order_id))

    @invariant()
    def the_record_is_whole(self) -> None:
        before, self.now = self.now, self.picture()
        check(before, self.now, self.reopened)
        self.reopened.clear()

    def teardown(self) -> None:
        """Nothing was forgotten: with no message but the timer's, every order comes to its end."""
        rounds = iter(range(30))
        while not all(map(self.now.ended, self.now.orders)):
            assert next(rounds, None) is not None, "an order is forgotten"
            pass_time(self.door.records, 61)
            hints = self.store.due()
            self.rung(hints)
            self.work_through(hint.work for hint in hints)
            self.the_record_is_whole()


@pytest.mark.timeout(600)  # a broken record is first made small
def test_no_order_of_events_breaks_the_record(tmp_path: Path) -> None:
    """Whatever callers, workers, the timer and time do to it, every picture is whole and every order ends."""
    kept = BrokerSettings(data=tmp_path, keep_s=KEEP_S)
    with EmbeddedRedis(kept):
        store, door = OrderStore.connect(kept), RedisClient(RedisUrl.of(kept))
        door.records.config_set(
            "appendonly", "no"
        )  # nothing here is about disks, and a thousand syncs take a minute
        run(store, door)


def run(store: OrderStore, door: RedisClient) -> None:
    """The model on this Redis, the same way every time."""

    class OnThisRedis(Life):
        def __init__(self) -> None:
            super().__init__(store, door)

    run_state_machine_as_test(
        OnThisRedis,
        settings=settings(
            max_examples=60,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
            derandomize=True,
            database=None,
        ),
    )
