"""Kill, stop and freeze processes at random, fill a disk, and undo it again. Knows no orders."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

from broker.settings.config import ConfigError
from tests.faults.fleet import REDIS, Fleet, may_mount
from tests.support.stack import LEASE_S

What = Literal[
    "killed", "asked to stop", "frozen", "lost its child", "on a full disk", "ended by itself"
]
TICK_S = 0.05
LONGEST_AWAY_S = 2.0
STOPPING_S = (2.5, 4.5)
"""How long a process that was asked to stop has for that; it gives work back after a second."""
FULL_DISK_S = (6.0, 12.0)
"""A worker needs some of it to start."""
FROZEN_S = {
    "api": (1.0, 3.0),
    REDIS: (1.0, 5.0),
    "courier": (LEASE_S + 1.0, LEASE_S + 3.0),
    "worker": (LEASE_S + 1.0, LEASE_S + 3.0),
}
TARGETS: tuple[tuple[str, What, int], ...] = (
    ("worker-1", "killed", 2),
    ("worker-2", "killed", 2),
    ("worker-1", "asked to stop", 2),
    ("worker-2", "asked to stop", 2),
    ("courier-1", "asked to stop", 2),
    ("courier-2", "asked to stop", 2),
    ("api", "asked to stop", 1),
    ("worker-1", "on a full disk", 1),
    ("worker-1", "lost its child", 1),
    ("worker-2", "lost its child", 1),
    ("courier-1", "killed", 5),
    ("courier-2", "killed", 5),
    ("worker-1", "frozen", 1),
    ("worker-2", "frozen", 1),
    ("courier-1", "frozen", 3),
    ("courier-2", "frozen", 3),
    ("api", "killed", 3),
    ("api", "frozen", 2),
    (REDIS, "killed", 4),
    (REDIS, "frozen", 2),
)
"""Role, what is done to it, and how likely that is beside the others."""


@dataclass(frozen=True, slots=True)
class ProcessFault:
    """One thing that was done to one process. `at` is seconds since 1970."""

    at: float
    role: str
    what: What
    for_s: float

    @property
    def kind(self) -> str:
        """Return the kind of process, without its number."""
        return self.role.partition("-")[0]


class Chaos:
    """Makes process faults at random until it is stopped; then everything runs again."""

    def __init__(self, fleet: Fleet, seed: int, pause_s: tuple[float, float]) -> None:
        self._fleet = fleet
        self._targets = [
            target for target in TARGETS if target[1] != "on a full disk" or may_mount(fleet.data)
        ]
        self._rng = Random(seed)
        self._pause_s = pause_s
        self._away: dict[str, tuple[float, Callable[[str], None]]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos")
        self.faults: list[ProcessFault] = []

    def start(self) -> None:
        """Start making faults."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; return when every process runs again."""
        self._stop.set()
        self._thread.join()

    def counts(self) -> Counter[tuple[str, What]]:
        """Return how often each fault was made, by kind of process."""
        return Counter((fault.kind, fault.what) for fault in self.faults)

    def _run(self) -> None:
        next_fault_at = time.monotonic()
        while not self._stop.wait(TICK_S):
            self._bring_back(time.monotonic())
            self._notice_the_dead()
            if time.monotonic() >= next_fault_at:
                self._make_fault()
                next_fault_at = time.monotonic() + self._rng.uniform(*self._pause_s)
        while self._away:
            self._bring_back(float("inf"))

    def _make_fault(self) -> None:
        free = [target for target in self._targets if target[0] not in self._away]
        if not free:
            return
        role, what, _ = self._rng.choices(free, weights=[weight for *_, weight in free])[0]
        away_s = self._rng.uniform(0, LONGEST_AWAY_S)
        if what == "killed":
            self._fleet.kill(role)
            self._away[role] = (time.monotonic() + away_s, self._fleet.start)
        elif what == "asked to stop":
            away_s = self._rng.uniform(*STOPPING_S)
            self._fleet.ask_to_stop(role)
            self._away[role] = (time.monotonic() + away_s, self._fleet.start_after_stop)
        elif what == "on a full disk":
            away_s = self._rng.uniform(*FULL_DISK_S)
            self._fleet.kill(role)
            self._fleet.start_on_a_full_disk(role)
            self._away[role] = (time.monotonic() + away_s, self._fleet.start_after_stop)
        elif what == "frozen":
            away_s = self._rng.uniform(*FROZEN_S[role.partition("-")[0]])
            self._fleet.freeze(role)
            self._away[role] = (time.monotonic() + away_s, self._fleet.thaw)
        else:
            self._fleet.kill_child(role)
        self.faults.append(ProcessFault(time.time(), role, what, away_s))

    def _bring_back(self, now: float) -> None:
        for role, (at, restore) in list(self._away.items()):
            if at <= now:
                try:
                    restore(role)
                except ConfigError:
                    # A client that was connecting may hold Redis' port for a moment.
                    continue
                del self._away[role]

    def _notice_the_dead(self) -> None:
        for role in (REDIS, *self._fleet.roles):
            if role not in self._away and not self._fleet.runs(role):
                self.faults.append(ProcessFault(time.time(), role, "ended by itself", 0))
                back_at = time.monotonic() + self._rng.uniform(0, LONGEST_AWAY_S)
                self._away[role] = (back_at, self._fleet.start)
