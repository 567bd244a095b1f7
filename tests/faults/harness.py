"""One run: orders come in while everything is killed and frozen at random; then peace, and the judge."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from broker.order_store import OrderStore
from tests.faults.callers import Clients, Watcher
from tests.faults.chaos import Chaos, What
from tests.faults.checker import Finding, Run, judge
from tests.faults.fleet import Fleet
from tests.faults.ledger import Book
from tests.faults.plan import make_slides, plan
from tests.faults.receivers import Receivers
from tests.support.stack import wait_for

PEACE_AT = 0.97
"""The faults end when this share of the orders has ended, so that all legs of nearly all orders meet them."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much of it. `per_s`: orders placed a second; `pause_s`: shortest and longest time between two faults."""

    orders: int
    per_s: float = 4.0
    pause_s: tuple[float, float] = (0.8, 3.0)
    longest_war_s: float = 1800.0
    longest_peace_s: float = 180.0


@dataclass(frozen=True, slots=True)
class Seen:
    """How far a run is."""

    stage: str
    promised: int
    ended: int
    blows: int


@dataclass(frozen=True)
class Verdict:
    """What came of a run."""

    seed: int
    run: Run
    findings: list[Finding]
    blows: Counter[tuple[str, What]]
    war_s: float
    peace_s: float
    by_state: Counter[str] = field(default_factory=Counter)


def run(size: Size, seed: int, data: Path, show: Callable[[Seen], None]) -> Verdict:
    """Do it in the folder `data` and judge it."""
    data.mkdir(parents=True, exist_ok=True)
    slides = make_slides(data / "slides")
    with Receivers(slides, seed) as receivers, Fleet(data, [data / "slides"]) as fleet:
        fleet.wait_ready()
        book = Book()
        clients = Clients(
            fleet.url, plan(size.orders, seed, slides, receivers), book, seed, size.per_s
        )
        chaos = Chaos(fleet, seed, size.pause_s)
        spent_s = _War(chaos, receivers, (clients, Watcher(fleet.url, book)), book, size, show).go()
        told = _told(fleet.store, book, receivers, chaos)
        states = Counter(order.state.value for order in told.orders.values())
        return Verdict(seed, told, judge(told), chaos.counts(), *spent_s, by_state=states)


@dataclass(frozen=True)
class _War:
    chaos: Chaos
    receivers: Receivers
    callers: tuple[Clients, Watcher]
    book: Book
    size: Size
    show: Callable[[Seen], None]

    def go(self) -> tuple[float, float]:
        """Seconds of war and of peace until everything ended."""
        began = time.monotonic()
        for one in (*self.callers, self.chaos):
            one.start()
        try:
            self._until("faults", PEACE_AT, self.size.longest_war_s)
            self.chaos.calm()
            self.receivers.calm()
            peace = time.monotonic()
            self._until("drain", 1.0, self.size.longest_peace_s)
            return peace - began, time.monotonic() - peace
        finally:
            for one in (self.chaos, *self.callers):
                one.calm()

    def _until(self, stage: str, share: float, within_s: float) -> None:
        """Until that share of the orders ended, or the time is over: what then is missing is the judge's to name."""
        deadline = time.monotonic() + within_s
        wait_for(
            lambda: self._tell(stage) >= share * self.size.orders or time.monotonic() > deadline,
            within_s * 2,
        )

    def _tell(self, stage: str) -> int:
        ended = self.book.ended
        self.show(Seen(stage, len(self.book.promises), ended, len(self.chaos.blows)))
        return ended


def _told(store: OrderStore, book: Book, receivers: Receivers, chaos: Chaos) -> Run:
    orders = {order.id: order for order in store.get_many(book.promises) if order}
    logs = {order_id: store.log(order_id) for order_id in orders}
    return Run(book, orders, logs, receivers.effects(), receivers.hits, chaos.blows)
