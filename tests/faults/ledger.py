"""What the outside saw of a run: who was promised what, and which states were shown when. Threads may share it."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from broker.orders.order import ENDED, OrderState
from tests.faults.plan import Wanted


@dataclass(frozen=True, slots=True)
class Sight:
    """The states an order and its scans were seen in. `at`: the answer was here, seconds since 1970."""

    at: float
    order: str
    scans: tuple[str, ...]


@dataclass
class Promise:
    """An order that was answered 202."""

    order_id: str
    wanted: Wanted
    sights: list[Sight] = field(default_factory=list)


class Book:
    """The one book of a run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.promises: dict[str, Promise] = {}
        self.refused: list[str] = []
        self.doubled: list[str] = []
        self.asked_again = 0

    def promised(self, wanted: Wanted, order_id: str) -> None:
        """A 202 came. The same key must stand for the same order each time."""
        with self._lock:
            before = [
                one.order_id for one in self.promises.values() if one.wanted.key == wanted.key
            ]
            if before and before != [order_id]:
                self.doubled.append(f"{wanted.key} stands for {before[0]} and for {order_id}")
            self.promises.setdefault(order_id, Promise(order_id, wanted))

    def refuse(self, wanted: Wanted, status: int, answer: Any) -> None:
        """A final no came."""
        with self._lock:
            self.refused.append(f"{wanted.key}: {status} {answer}")

    def ask_again(self) -> None:
        """No answer came, or one that says to repeat."""
        with self._lock:
            self.asked_again += 1

    def see(self, view: dict[str, Any]) -> None:
        """An order as it was shown just now."""
        sight = Sight(time.time(), view["state"], tuple(scan["state"] for scan in view["scans"]))
        with self._lock:
            promise = self.promises.get(view["id"])
            if promise is None:
                return
            last = promise.sights[-1] if promise.sights else None
            if last is None or (last.order, last.scans) != (sight.order, sight.scans):
                promise.sights.append(sight)

    @property
    def ended(self) -> int:
        """How many of the promised orders were seen at an end."""
        with self._lock:
            return sum(_at_an_end(promise) for promise in self.promises.values())


def _at_an_end(promise: Promise) -> bool:
    return bool(promise.sights) and OrderState(promise.sights[-1].order) in ENDED
