"""The workers of the model: they claim, renew, finish and give back work, or write too late."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from broker.errors import Problem
from broker.order_store import Claim, LeaseLostError, OrderStore, TaskMessage
from broker.order_store.redis_client import RedisClient
from broker.orders.order import Stage
from tests.support.record_snapshot import Snapshot

STAGES: dict[str, Stage] = {"queued": "fetch", "staged": "classify", "delivering": "deliver"}
GOOD = {"fetch": "staged", "classify": "classified", "deliver": "delivered"}
BAD = {"fetch": "failed", "classify": "failed", "deliver": "undelivered"}
PROBLEM = Problem("slide_unreadable", "it ends too early", blame="input")
WORKERS = ["a", "b"]
THERE_ARE_ORDERS = precondition(lambda self: self.now.orders)
SOMETHING_IS_HELD = precondition(lambda self: self.held())


T = TypeVar("T")


def pick(data: st.DataObject, among: Sequence[T]) -> T:
    """Return one of them.

    The number that is drawn does not depend on how many there are, because real time passes
    between two replays and may change that.
    """
    return among[data.draw(st.integers(0, 99)) % len(among)]


class WorkerRules(RuleBasedStateMachine):
    """Couriers and workers on a real record; each may act at any time."""

    def __init__(self, store: OrderStore, client: RedisClient) -> None:
        super().__init__()
        self.store, self.client = store, client
        self.client.records.flushdb()
        self.claims: list[Claim] = []
        self.cases: set[str] = set()
        self.judges: dict[Claim, bool] = {}
        self.now = self.snapshot()

    def snapshot(self) -> Snapshot:
        return Snapshot.take(self.client.records)

    def is_ours(self, claim: Claim) -> bool:
        return claim.work in self.now.held() and self.now.works[claim.work]["fence"] == str(
            claim.fence
        )

    def held(self) -> list[Claim]:
        return [claim for claim in self.claims if self.is_ours(claim)]

    def nothing_changes(self, call: Callable[[], object]) -> object:
        before = self.snapshot()
        answer = call()
        assert self.snapshot() == before
        return answer

    @contextlib.contextmanager
    def taken_away(self, works: Iterable[str]) -> Iterator[None]:
        """Check that after the context no claim on this work from before it is valid."""
        fences = {work: int(self.snapshot().works[work]["fence"]) for work in works}
        yield
        after = self.snapshot().works
        assert all(int(after[work]["fence"]) > fence for work, fence in fences.items())

    def take(self, work: str, stage: Stage, worker: str = "a") -> Claim:
        fence = int(self.snapshot().works[work]["fence"])
        claim = self.store.claim(work, stage, worker)
        assert claim, f"{work} waits and is refused"
        assert claim.fence == fence + 1
        self.claims.append(claim)
        self.judges[claim] = self.snapshot().works[work].get("judges_case") == "1"
        return claim

    def end(self, claim: Claim, ends: dict[str, str]) -> tuple[TaskMessage, ...]:
        """End the claim. A scan of a case is encoded; the last one is claimed again, and judges."""
        to = ends[claim.stage]
        if ends is BAD:
            return self.store.finish(claim, to, {"result": "r"}, problem=PROBLEM)
        order_id = claim.work.partition(".")[0]
        if claim.stage != "classify" or order_id not in self.cases:
            return self.store.finish(claim, to, {"result": "r"})
        if self.judges[claim]:
            scans = int(self.snapshot().orders[order_id]["scans"])
            return self.store.finish_case(claim, [{"result": "judged"}] * scans)
        return self.store.finish_encoded(claim, {"result": "r"})

    def work_through(self, works: Iterable[str], ends: dict[str, str] = GOOD) -> None:
        for work in works:
            stage = STAGES[self.snapshot().works[work]["state"]]
            for message in self.end(self.take(work, stage), ends):
                assert message.work in self.snapshot().ready()

    @THERE_ARE_ORDERS
    @rule(data=st.data(), stage=st.sampled_from(list(GOOD)), worker=st.sampled_from(WORKERS))
    def claim(self, data: st.DataObject, stage: Stage, worker: str) -> None:
        """The record decides, not a message; a repeated claim is answered like the first one."""
        work = pick(data, list(self.now.works))
        if work not in self.now.ready() or STAGES[self.now.works[work]["state"]] != stage:
            assert self.nothing_changes(lambda: self.store.claim(work, stage, worker)) is None
            return
        claim = self.take(work, stage, worker)
        token = self.snapshot().works[work]["token"]
        again = self.nothing_changes(
            lambda: self.client.run_json("claim", work, stage, worker, 1, token)
        )
        assert again == {
            "fence": claim.fence,
            "attempts": claim.attempts,
            "retries": claim.retries,
            "attempt": claim.attempt,
            "most_attempts": claim.most_attempts,
        }

    @precondition(lambda self: self.now.ready())
    @rule(data=st.data(), worker=st.sampled_from(WORKERS))
    def claim_what_waits(self, data: st.DataObject, worker: str) -> None:
        work = pick(data, self.now.ready())
        self.take(work, STAGES[self.now.works[work]["state"]], worker)

    @precondition(lambda self: self.now.ready())
    @rule(data=st.data(), ends=st.sampled_from([GOOD, GOOD, BAD]))
    def do_what_waits(self, data: st.DataObject, ends: dict[str, str]) -> None:
        ready = self.now.ready()
        first, some = data.draw(st.integers(0, 99)) % len(ready), data.draw(st.integers(1, 4))
        self.work_through((ready[first:] + ready[:first])[:some], ends)

    @SOMETHING_IS_HELD
    @rule(data=st.data(), ends=st.sampled_from([GOOD, BAD]))
    def finish(self, data: st.DataObject, ends: dict[str, str]) -> None:
        """Finishing twice is the same as once: the first answer may have been lost."""
        claim = pick(data, self.held())
        finish = partial(self.end, claim, ends)
        finish()
        self.nothing_changes(finish)

    @SOMETHING_IS_HELD
    @rule(data=st.data(), delay_s=st.sampled_from([0, 60]))
    def give_back(self, data: st.DataObject, delay_s: int) -> None:
        """Work given back does not count as an attempt; doing it twice is the same as once."""
        claim = pick(data, self.held())
        give_back = partial(
            self.store.give_back, claim, {"retries": 1}, problem=PROBLEM, delay_s=delay_s
        )
        give_back()
        self.nothing_changes(give_back)
        assert (
            not delay_s
            or self.nothing_changes(lambda: self.store.claim(claim.work, claim.stage, "a")) is None
        )
        assert int(self.snapshot().works[claim.work]["attempts"]) == claim.attempts - 1

    @SOMETHING_IS_HELD
    @rule(data=st.data(), is_new=st.booleans())
    def renew(self, data: st.DataObject, *, is_new: bool) -> None:
        """A heartbeat, and a delivery attempt, which is written before it is made and after it."""
        claim = pick(data, self.held())
        wanted = (
            "cancel" if self.now.orders[claim.work.partition(".")[0]]["cancel"] == "1" else "ok"
        )
        assert self.store.renew(claim, {"stage": "tiles"}) == wanted
        assert self.nothing_changes(lambda: self.store.check_lease(claim)) == wanted
        made = len(self.now.below("sl:attempts:").get(claim.work, []))
        attempt = (
            (max(0, made - (not is_new)), {"digest": "d"}) if claim.stage == "deliver" else None
        )
        note = partial(self.store.note, claim, {"slide": {}}, attempt=attempt)
        note()
        self.nothing_changes(note)

    @precondition(lambda self: len(self.held()) < len(self.claims))
    @rule(data=st.data())
    def write_late(self, data: st.DataObject) -> None:
        """A claim that ended, or that another one replaced, can change nothing."""
        claim = pick(data, [claim for claim in self.claims if not self.is_ours(claim)])
        work = self.now.works.get(claim.work)
        overtaken = not work or int(work["fence"]) > claim.fence
        note, finish = (
            partial(self.store.note, claim, {"slide": {}}),
            partial(self.store.finish, claim),
        )
        bad = partial(finish, BAD[claim.stage], problem=PROBLEM)
        for write in (
            note,
            partial(finish, GOOD[claim.stage]),
            bad,
            partial(self.store.give_back, claim),
        ):
            with (
                pytest.raises(LeaseLostError) if overtaken else contextlib.suppress(LeaseLostError)
            ):
                self.nothing_changes(write)
        for ask in (self.store.renew, self.store.check_lease):
            assert self.nothing_changes(partial(ask, claim)) == "lost"
