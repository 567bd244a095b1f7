"""A model of the life of orders: its steps in any order, on a real Redis, checked after each."""

import json
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test
from pydantic import TypeAdapter

from broker.errors import OrderError
from broker.order_store import Claim, Creator, OrderStore, TaskMessage
from broker.order_store.embedded_redis import EmbeddedRedis
from broker.order_store.redis_client import RedisClient
from broker.order_store.redis_url import RedisUrl
from broker.orders.request import Destination, OrderRequest
from broker.settings.config import BrokerSettings
from tests.support.lifecycle_invariants import check
from tests.support.lifecycle_workers import STAGES, THERE_ARE_ORDERS, WORKERS, WorkerRules, pick
from tests.support.record_snapshot import pass_time

DAY_S = 86400
KEEP_S = 8 * DAY_S
WAYS_OUT = {
    "retry": {"failed", "expired", "cancelled"},
    "deliver_again": {"undelivered", "cancelled"},
    "deliver_elsewhere": {"undelivered", "cancelled", "delivered"},
}
ELSEWHERE = TypeAdapter(Destination).validate_python(
    {"type": "annotation", "url": "https://loader.example/up", "case_id": "1"}
)
TIMES = st.sampled_from([2, 31, 31, 61, 61, 700, 9 * DAY_S])


class LifecycleModel(WorkerRules):
    """Callers, the scheduler and the passing of time, added to the workers."""

    def __init__(self, store: OrderStore, client: RedisClient) -> None:
        super().__init__(store, client)
        self.reopened: set[str] = set()

    def some_order(self, data: st.DataObject) -> str:
        return pick(data, list(self.now.orders))

    def deliveries(self) -> list[Claim]:
        return [claim for claim in self.held() if claim.stage == "deliver"]

    def check_messages(self, messages: tuple[TaskMessage, ...]) -> None:
        """Each message names work that waits for this stage on this queue, and no work twice."""
        now = self.snapshot()
        assert len({message.work for message in messages}) == len(messages)
        for message in messages:
            assert message.work in now.ready()
            assert (STAGES[now.works[message.work]["state"]], now.works[message.work]["queue"]) == (
                message.stage,
                message.queue,
            )

    @rule(
        scans=st.integers(1, 3),
        priority=st.sampled_from(["low", "normal", "urgent"]),
        key=st.sampled_from(["", "k"]),
        stages_done=st.sampled_from([0, 1, 1, 2]),
        is_case=st.booleans(),
    )
    def order(
        self, scans: int, priority: str, key: str, stages_done: int, *, is_case: bool
    ) -> None:
        """The same key is the same order, however often it is sent. Some orders get on at once."""
        slides = [
            {"id": str(n), "source": {"type": "path", "path": "/a.svs"}} for n in range(scans)
        ]
        body = {"algorithm": "grid", "scans": slides, "priority": priority, "labels": {"case": "1"}}
        request = OrderRequest.model_validate_json(json.dumps(body))
        create = partial(
            self.store.create,
            request,
            queue="gpu",
            key=key or None,
            fingerprint="f",
            creator=Creator("lab"),
        )
        first = create()
        assert first.fresh == (first.order_id not in self.now.orders)
        self.check_messages(first.messages)
        if first.fresh and is_case and scans > 1:
            self.cases.add(first.order_id)
        assert not key or self.nothing_changes(lambda: create().order_id) == first.order_id
        for _ in range(stages_done):
            self.work_through(message.work for message in first.messages)

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
            self.snapshot().orders[order_id]["state"] == "cancelled" or order_id in self.now.held()
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
            self.store.take_back(claim.worker, "signal 9", work=claim.work)
        assert self.snapshot().orders[claim.work]["state"] == (
            "delivered" if arrives else "cancelled"
        )

    def ask(self, action: str, order_id: str) -> tuple[TaskMessage, ...]:
        if action == "retry":
            return self.store.retry(order_id, "lab")
        if action == "deliver_again":
            return self.store.deliver_again(order_id, "lab")
        return self.store.deliver_again(order_id, "lab", ELSEWHERE)

    @THERE_ARE_ORDERS
    @rule(data=st.data(), action=st.sampled_from(list(WAYS_OUT)))
    def reopen(self, data: st.DataObject, action: str) -> None:
        """Where scans are missing they are done; where only the delivery is missing, that is."""
        order_id = self.some_order(data)
        missing = [scan for scan in self.now.scans(order_id) if scan["state"] != "classified"]
        allowed = self.now.orders[order_id]["state"] in WAYS_OUT[action] and bool(missing) == (
            action == "retry"
        )
        if not allowed:
            with pytest.raises(OrderError, match=r"is (tried|delivered) again"):
                self.nothing_changes(lambda: self.ask(action, order_id))
            return
        messages = self.ask(action, order_id)
        self.reopened.add(order_id)
        self.check_messages(messages)
        order = self.snapshot().orders[order_id]
        self.nothing_changes(
            lambda: self.client.run_json("reopen", order_id, order["state"], 1, order["reopened"])
        )
        assert len(messages) == len(missing or [order_id])

    @rule(seconds=TIMES)
    def time_passes(self, seconds: int) -> None:
        """Long enough for a missed heartbeat, a lease, a delay, a promotion, or the end of an
        order."""
        pass_time(self.client.records, seconds)

    @rule(seconds=st.just(0) | TIMES, limit=st.sampled_from([1, 200]))
    def scheduler_runs(self, seconds: int, limit: int) -> None:
        """However long it did not run, and however little it looks at."""
        pass_time(self.client.records, seconds)
        self.check_messages(self.store.due(limit))

    @rule(worker=st.sampled_from(WORKERS), asked_to_stop=st.booleans())
    def worker_is_gone(self, worker: str, *, asked_to_stop: bool) -> None:
        """Nothing stays with it; having been asked to stop counts for nothing."""
        lose = partial(self.store.take_back, worker, "signal 9", asked_to_stop=asked_to_stop)
        had = [work for work, holder in self.now.held().items() if holder == worker]
        with self.taken_away(had):
            self.check_messages(lose())
        after = self.snapshot()
        assert worker not in after.held().values()
        for work in had:
            assert (
                int(after.works[work]["attempts"])
                == int(self.now.works[work]["attempts"]) - asked_to_stop
            )
        assert self.nothing_changes(lose) == ()

    @THERE_ARE_ORDERS
    @rule(data=st.data(), days=st.sampled_from([0, 9]))
    def forget(self, data: st.DataObject, days: int) -> None:
        """Only what ended long ago, and then every trace of it."""
        pass_time(self.client.records, days * DAY_S)
        self.now = self.snapshot()
        order_id, ended = self.some_order(data), self.now.keys.get("sl:ended", {})
        is_old = order_id in ended and float(ended[order_id]) < self.now.at_ms - KEEP_S * 1000
        assert is_old == (order_id in self.store.deletable())
        if is_old:
            self.store.delete(order_id)
            assert order_id not in repr(self.snapshot())
        elif not self.now.ended(order_id):
            self.nothing_changes(lambda: self.store.delete(order_id))

    @invariant()
    def the_record_is_whole(self) -> None:
        before, self.now = self.now, self.snapshot()
        check(before, self.now, self.reopened)
        self.reopened.clear()

    def teardown(self) -> None:
        """Nothing was forgotten: with no message but the scheduler's, every order comes to its end."""
        rounds = iter(range(30))
        while not all(map(self.now.ended, self.now.orders)):
            assert next(rounds, None) is not None, "an order is forgotten"
            pass_time(self.client.records, 61)
            messages = self.store.due()
            self.check_messages(messages)
            self.work_through(message.work for message in messages)
            self.the_record_is_whole()


@pytest.mark.timeout(600)  # a broken record is first made small
def test_no_order_of_events_breaks_the_record(tmp_path: Path) -> None:
    """Whatever callers, workers, scheduler and time do, the record is sound and every order
    ends."""
    broker_settings = BrokerSettings(data=tmp_path, keep_s=KEEP_S)
    with EmbeddedRedis(broker_settings):
        store, client = (
            OrderStore.connect(broker_settings),
            RedisClient(RedisUrl.of(broker_settings)),
        )
        client.records.config_set(
            "appendonly", "no"
        )  # nothing here is about disks, and a thousand syncs take a minute
        run(store, client)


def run(store: OrderStore, client: RedisClient) -> None:
    """The model on this Redis, the same way every time."""

    class OnThisRedis(LifecycleModel):
        def __init__(self) -> None:
            super().__init__(store, client)

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
