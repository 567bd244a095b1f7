"""One run: orders are placed while processes are killed and frozen, then all drains, then judge."""

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
from tests.faults.ledger import ClientLedger
from tests.faults.plan import make_slides, plan
from tests.faults.receivers import Receivers
from tests.support.stack import wait_for

FAULTS_UNTIL_SHARE = 0.97
"""The faults end when this share of the orders has ended.

So all stages of nearly all orders meet them.
"""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a run is and how long it may take.

    `per_s`: orders placed a second. `pause_s`: shortest and longest time between two faults.
    """

    orders: int
    per_s: float = 4.0
    pause_s: tuple[float, float] = (0.8, 3.0)
    faults_limit_s: float = 1800.0
    drain_limit_s: float = 180.0


@dataclass(frozen=True, slots=True)
class Status:
    """How far a run is."""

    phase: str
    accepted: int
    ended: int
    faults: int


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run."""

    seed: int
    run: Run
    findings: list[Finding]
    fault_counts: Counter[tuple[str, What]]
    faults_s: float
    drain_s: float
    by_state: Counter[str] = field(default_factory=Counter)


def run(size: Size, seed: int, data: Path, show: Callable[[Status], None]) -> Outcome:
    """Make a run in the folder `data` and judge it."""
    data.mkdir(parents=True, exist_ok=True)
    slides = make_slides(data / "slides")
    with Receivers(slides, seed) as receivers, Fleet(data, [data / "slides"]) as fleet:
        fleet.wait_ready()
        ledger = ClientLedger()
        orders = plan(size.orders, seed, slides, receivers)
        clients = Clients(fleet.url, orders, ledger, seed, size.per_s)
        watcher = Watcher(fleet.url, ledger)
        chaos = Chaos(fleet, seed, size.pause_s)
        phases = _Phases(chaos, receivers, clients, watcher, ledger, size, show)
        faults_s, drain_s = phases.run()
        collected = _collect(fleet.store, ledger, receivers, chaos)
    return Outcome(
        seed=seed,
        run=collected,
        findings=judge(collected),
        fault_counts=chaos.counts(),
        faults_s=faults_s,
        drain_s=drain_s,
        by_state=Counter(order.state.value for order in collected.orders.values()),
    )


@dataclass(frozen=True)
class _Phases:
    """The two phases of a run: with faults, and draining without."""

    chaos: Chaos
    receivers: Receivers
    clients: Clients
    watcher: Watcher
    ledger: ClientLedger
    size: Size
    show: Callable[[Status], None]

    def run(self) -> tuple[float, float]:
        """Run until every order ended; return the seconds of each phase."""
        began_at = time.monotonic()
        self.clients.start()
        self.watcher.start()
        self.chaos.start()
        try:
            self._wait("faults", FAULTS_UNTIL_SHARE, self.size.faults_limit_s)
            self.chaos.stop()
            self.receivers.stop_faults()
            drain_began_at = time.monotonic()
            self._wait("drain", 1.0, self.size.drain_limit_s)
            return drain_began_at - began_at, time.monotonic() - drain_began_at
        finally:
            self.chaos.stop()
            self.clients.stop()
            self.watcher.stop()

    def _wait(self, phase: str, share: float, limit_s: float) -> None:
        """Wait until that share of the orders ended, or the time is over.

        What is missing then is a finding.
        """
        deadline = time.monotonic() + limit_s
        needed = share * self.size.orders
        wait_for(
            lambda: self._show(phase) >= needed or time.monotonic() > deadline,
            limit_s * 2,
        )

    def _show(self, phase: str) -> int:
        """Show the status; return how many orders have ended."""
        ended = self.ledger.ended
        self.show(Status(phase, len(self.ledger.accepted), ended, len(self.chaos.faults)))
        return ended


def _collect(store: OrderStore, ledger: ClientLedger, receivers: Receivers, chaos: Chaos) -> Run:
    orders = {order.id: order for order in store.get_many(ledger.accepted) if order}
    logs = {order_id: store.log(order_id) for order_id in orders}
    return Run(ledger, orders, logs, receivers.effects(), receivers.faults, chaos.faults)
