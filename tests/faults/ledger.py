"""What clients saw during a run: which orders were accepted, and which states were shown when.

Threads may share it.
"""

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from broker.orders.order import ENDED, OrderState
from tests.faults.plan import PlannedOrder


@dataclass(frozen=True, slots=True)
class Observation:
    """The states of an order and its scans in one answer. `at`: seconds since 1970."""

    at: float
    order: str
    scans: tuple[str, ...]


@dataclass
class AcceptedOrder:
    """An order that was answered 202."""

    order_id: str
    planned: PlannedOrder
    observations: list[Observation] = field(default_factory=list)


class ClientLedger:
    """Everything that the clients of a run were answered."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.accepted: dict[str, AcceptedOrder] = {}
        self.refused: list[str] = []
        self.doubled: list[str] = []
        self.repeated_calls = 0

    def accept(self, planned: PlannedOrder, order_id: str) -> None:
        """Record a 202. The same key must stand for the same order each time."""
        with self._lock:
            before = [
                order.order_id
                for order in self.accepted.values()
                if order.planned.key == planned.key
            ]
            if before and before != [order_id]:
                self.doubled.append(f"{planned.key} stands for {before[0]} and for {order_id}")
            self.accepted.setdefault(order_id, AcceptedOrder(order_id, planned))

    def refuse(self, planned: PlannedOrder, status: int, answer: Any) -> None:
        """Record a final refusal."""
        with self._lock:
            self.refused.append(f"{planned.key}: {status} {answer}")

    def repeat(self) -> None:
        """Record that no answer came, or one that says to repeat."""
        with self._lock:
            self.repeated_calls += 1

    def observe(self, view: dict[str, Any]) -> None:
        """Record an order as it was shown just now."""
        scans = tuple(scan["state"] for scan in view["scans"])
        seen = Observation(time.time(), view["state"], scans)
        with self._lock:
            order = self.accepted.get(view["id"])
            if order is None:
                return
            if order.observations:
                last = order.observations[-1]
                if (last.order, last.scans) == (seen.order, seen.scans):
                    return
            order.observations.append(seen)

    @property
    def ended(self) -> int:
        """Return how many of the accepted orders were seen at an end."""
        with self._lock:
            return sum(_has_ended(order) for order in self.accepted.values())


def _has_ended(order: AcceptedOrder) -> bool:
    return bool(order.observations) and OrderState(order.observations[-1].order) in ENDED
