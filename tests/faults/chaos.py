"""Kills and freezes what runs, at random, and brings it back. Knows processes, no orders."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

from broker.settings.config import ConfigError
from tests.faults.fleet import REDIS, Fleet
from tests.support.stack import LEASE_S

What = Literal["killed", "frozen", "lost its child", "ended by itself"]
TICK_S = 0.05
LONGEST_AWAY_S = 2.0
FROZEN_S = {"api": (1.0, 3.0), REDIS: (1.0, 5.0), "courier": (LEASE_S + 1.0, LEASE_S + 3.0)}
FROZEN_S["worker"] = FROZEN_S["courier"]
TARGETS: tuple[tuple[str, What, int], ...] = (
    ("worker-1", "killed", 2),
    ("worker-2", "killed", 2),
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


@dataclass(frozen=True, slots=True)
class Blow:
    """One thing that was done to one process. `at` is seconds since 1970."""

    at: float
    role: str
    what: What
    for_s: float

    @property
    def kind(self) -> str:
        """What was hit, without its number."""
        return self.role.partition("-")[0]


class Chaos:
    """Blows at random, until `calm`; then everything runs again."""

    def __init__(self, fleet: Fleet, seed: int, pause_s: tuple[float, float]) -> None:
        self._fleet, self._rng, self._pause_s = fleet, Random(seed), pause_s
        self._back: dict[str, tuple[float, Callable[[str], None]]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos")
        self.blows: list[Blow] = []

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def calm(self) -> None:
        """End it; returns when everything was brought back."""
        self._stop.set()
        self._thread.join()

    def counts(self) -> Counter[tuple[str, What]]:
        """How often what was done to what."""
        return Counter((blow.kind, blow.what) for blow in self.blows)

    def _run(self) -> None:
        next_blow = time.monotonic()
        while not self._stop.wait(TICK_S):
            self._bring_back(time.monotonic())
            self._notice_the_dead()
            if time.monotonic() >= next_blow:
                self._strike()
                next_blow = time.monotonic() + self._rng.uniform(*self._pause_s)
        while self._back:
            self._bring_back(float("inf"))

    def _strike(self) -> None:
        free = [target for target in TARGETS if target[0] not in self._back]
        if not free:
            return
        role, what, _ = self._rng.choices(free, weights=[weight for *_, weight in free])[0]
        away_s = self._rng.uniform(0, LONGEST_AWAY_S)
        if what == "killed":
            self._fleet.kill(role)
            self._back[role] = (time.monotonic() + away_s, self._fleet.start)
        elif what == "frozen":
            away_s = self._rng.uniform(*FROZEN_S[role.partition("-")[0]])
            self._fleet.freeze(role)
            self._back[role] = (time.monotonic() + away_s, self._fleet.thaw)
        else:
            self._fleet.kill_child(role)
        self.blows.append(Blow(time.time(), role, what, away_s))

    def _bring_back(self, now: float) -> None:
        for role, (at, bring) in list(self._back.items()):
            if at <= now:
                try:
                    bring(role)
                except (
                    ConfigError
                ):  # Redis' port may be held for a moment by somebody who was connecting to it
                    continue
                del self._back[role]

    def _notice_the_dead(self) -> None:
        for role in (REDIS, *self._fleet.roles):
            if role not in self._back and not self._fleet.runs(role):
                self.blows.append(Blow(time.time(), role, "ended by itself", 0))
                self._back[role] = (
                    time.monotonic() + self._rng.uniform(0, LONGEST_AWAY_S),
                    self._fleet.start,
                )
