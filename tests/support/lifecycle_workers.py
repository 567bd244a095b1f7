"""The half of the model that works: whoever claims, tells, finishes and gives back, and whoever writes too late."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from broker.errors import Problem
from broker.order_store import Claim, LeaseLostError, OrderStore
from broker.order_store.redis_client import RedisClient
from broker.orders.order import Stage
from tests.support.record_snapshot import Picture

STAGES: dict[str, Stage] = {"queued": "fetch", "staged": "classify", "delivering": "deliver"}
GOOD = {"fetch": "staged", "classify": "classified", "deliver": "delivered"}
BAD = {"fetch": "failed", "classify": "failed", "deliver": "undelivered"}
PROBLEM = Problem("slide_unreadable", "it ends too early", blame="input")
WORKERS = ["a", "b"]
THERE_ARE_ORDERS = precondition(lambda self: self.now.orders)
SOMETHING_IS_HELD = precondition(lambda self: self.held())


T = TypeVar("T")


def pick(data: st.DataObject, among: Sequence[T]) -> T:
    """One of them. What is drawn does not depend on how many there are: time passes for real between two replays."""
    return among[data.draw(st.integers(0, 99)) % len(among)]


class AtWork(RuleBasedStateMachine):
    """Couriers and workers on real records, each doing what it may at a time of its own choosing."""

    def __init__(self, store: OrderStore, door: RedisClient) -> None:
        super().__init__()
        self.store, self.door = store, door
        self.door.records.flushdb()
        self.claims: list[Claim] = []
        self.now = self.picture()

    def picture(self) -> Picture:
        return Picture.take(self.door.records)

    def is_ours(self, claim: Claim) -> bool:
        return claim.work in self.now.held() and self.now.works[claim.work]["fence"] == str(
            claim.fence
        )

    def held(self) -> list[Claim]:
        return [claim for claim in self.claims if self.is_ours(claim)]

    def nothing_changes(self, call: Callable[[], object]) -> object:
        before = self.picture()
        answer = call()
        assert self.picture() == before
        return answer

    @contextlib.contextmanager
    def taken_away(self, works: Iterable[str]) -> Iterator[None]:
        """What happens inside leaves this work to nobody who held it before."""
        fences = {work: int(self.picture().works[work]["fence"]) for work in works}
        yield
        after = self.picture().works
        assert all(int(after[work]["fence"]) > fence for work, fence in fences.items())

    def take(self, work: str, stage: Stage, worker: str = "a") -> Claim:
        fence = int(self.picture().works[work]["fence"])
        claim = self.store.claim(work, stage, worker)
        assert claim, f"{work} waits and is refused"
        assert claim.fence == fence + 1
        self.claims.append(claim)
        return claim

    def work_through(self, works: Iterable[str], ends: dict[str, str] = GOOD) -> None:
        problem = PROBLEM if ends is BAD else None
        for work in works:
            stage = STAGES[self.picture().works[work]["state"]]
            for hint in self.store.finish(self.take(work, stage), ends[stage], problem=problem):
                assert hint.work in self.picture().ready()

    @THERE_ARE_ORDERS
    @rule(data=st.data(), stage=st.sampled_from(list(GOOD)), worker=st.sampled_from(WORKERS))
    def claim(self, data: st.DataObject, stage: Stage, worker: str) -> None:
        """Whatever a hint says, the record decides; and it answers a repeated claim like the first."""
        work = pick(data, list(self.now.works))
        if work not in self.now.ready() or STAGES[self.now.works[work]["state"]] != stage:
            assert self.nothing_changes(lambda: self.store.claim(work, stage, worker)) is None
            return
        claim = self.take(work, stage, worker)
        token = self.picture().works[work]["token"]
        again = self.nothing_changes(lambda: self.door.ask("claim", work, stage, worker, 1, token))
        assert again == {"fence": claim.fence, "attempts": claim.attempts, "retries": claim.retries}

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
        """Finishing twice is finishing once: the first answer may have been lost."""
        claim = pick(data, self.held())
        problem = PROBLEM if ends is BAD else None
        finish = partial(
            self.store.finish, claim, ends[claim.stage], {"result": "r"}, problem=problem
        )
        finish()
        self.nothing_changes(finish)

    @SOMETHING_IS_HELD
    @rule(data=st.data(), delay_s=st.sampled_from([0, 60]))
    def give_back(self, data: st.DataObject, delay_s: int) -> None:
        """What is given back counts for nothing, and giving it back twice is giving it back once."""
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
        assert int(self.picture().works[claim.work]["attempts"]) == claim.attempts - 1

    @SOMETHING_IS_HELD
    @rule(data=st.data(), anew=st.booleans())
    def tell(self, data: st.DataObject, *, anew: bool) -> None:
        """Heartbeats, and an attempt at the destination, which is written before it is made and after."""
        claim = pick(data, self.held())
        wanted = (
            "cancel" if self.now.orders[claim.work.partition(".")[0]]["cancel"] == "1" else "ok"
        )
        assert self.store.renew(claim, {"stage": "tiles"}) == wanted
        assert self.nothing_changes(lambda: self.store.look(claim)) == wanted
        made = len(self.now.below("sl:attempts:").get(claim.work, []))
        attempt = (max(0, made - (not anew)), {"digest": "d"}) if claim.stage == "deliver" else None
        note = partial(self.store.note, claim, {"slide": {}}, attempt=attempt)
        note()
        self.nothing_changes(note)

    @precondition(lambda self: len(self.held()) < len(self.claims))
    @rule(data=st.data())
    def write_late(self, data: st.DataObject) -> None:
        """Whoever holds the work no more, overtaken or done with it, changes nothing whatever he tries."""
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
        for ask in (self.store.renew, self.store.look):
            assert self.nothing_changes(partial(ask, claim)) == "lost"
