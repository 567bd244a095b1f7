"""Holding work while it is done: renewed from a thread, carrying progress, told when to stop, given up when stuck."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Lock, Thread
from typing import Any, Self, TypeVar

from broker.errors import Blame, Problem, TemporaryError
from broker.order_store import Claim, OrderStore
from broker.settings.config import BrokerSettings
from worker.process.progress_log import ProgressLog, ProgressSnapshot
from worker.progress import StopWork

_TICK_S = 1.0
ASKED_FOR = frozenset({"cancel", "leaving"})
"""Why work stops although it is still ours."""
T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long work may take in all, and without any progress."""

    total_s: float
    stall_s: float


class Lease:
    """A claim, kept alive until the context ends. `progress` raises `StopWork` once the work is not wanted or not ours.

    `leaving` is set when this process is to end. `give_up` is called, from the lease's own thread, with the problem of
    work that broke its limits: it may be stuck where no exception reaches it.
    """

    def __init__(
        self,
        store: OrderStore,
        claim: Claim,
        settings: BrokerSettings,
        limits: Limits,
        leaving: Event,
        give_up: Callable[[Problem], None],
    ) -> None:
        self._store, self._claim, self._settings = store, claim, settings
        self._limits, self._leaving, self._give_up = limits, leaving, give_up
        self._ended, self._lock = Event(), Lock()
        self._told: dict[str, Any] = {}
        self._changed, self._stage_first = False, 0
        self._began = self._stage_began = self._moved = self._confirmed = time.monotonic()
        self._refusal = ""
        self._voice = ProgressLog(claim)
        self._thread = Thread(target=self._beat, name=f"lease-{claim.work}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def limit(self, limits: Limits) -> None:
        """From now on these limits hold."""
        self._limits = limits

    def progress(self, stage: str, done: int, total: int) -> None:
        """Say how far the work is. Raises `StopWork`."""
        now = time.monotonic()
        with self._lock:
            if self._told.get("stage") != stage:
                self._stage_began, self._stage_first = now, done
            moved = done - self._stage_first  # it may go on where another attempt was lost
            left = total - done
            eta_s = (
                round((now - self._stage_began) / moved * left, 1)
                if moved > 0 and left >= 0
                else None
            )
            told = {"stage": stage, "done": done, "total": total}
            if told != {name: self._told.get(name) for name in told}:
                self._moved, self._changed = now, True
            self._told = told | {"eta_s": eta_s}
        self.check()

    def check_held(self) -> None:
        """Raises `StopWork` when the work may be another's by now: taken over, or a whole lease out of touch with Redis."""
        if self._refusal and self._refusal not in ASKED_FOR:
            raise StopWork(self._refusal)
        if time.monotonic() - self._confirmed > self._settings.lease_s:
            self._refusal = "lost"
            raise StopWork(self._refusal)

    def check(self) -> None:
        """Raises `StopWork` when the work must end, also because somebody asked for that."""
        self.check_held()
        if not self._refusal and self._leaving.is_set():
            self._refusal = "leaving"
        if self._refusal:
            raise StopWork(self._refusal)

    def insist(self, write: Callable[[], T]) -> T:
        """Write what was hard to come by: tried until Redis answers. Raises `StopWork` once the work may be another's."""
        while True:
            try:
                return write()
            except TemporaryError as error:
                _log.warning(
                    "a write is tried again: %s", error.detail, extra={"work": self._claim.work}
                )
                self.check_held()
                time.sleep(_TICK_S)

    def confirm(self) -> None:
        """Ask Redis now, before something that cannot be taken back. Raises `StopWork` or `TemporaryError`."""
        self._renew()
        self.check()

    def _renew(self, progress: dict[str, Any] | None = None) -> float:
        asked = time.monotonic()  # not when the answer came: this process may have slept in between
        answer = self._store.renew(self._claim, progress)
        self._hear(answer)
        if answer != "lost":
            self._confirmed = asked
        return asked

    def _hear(self, answer: str) -> None:
        if answer != "ok":
            self._refusal = answer

    def _beat(self) -> None:
        renewed = time.monotonic()
        while not self._ended.wait(min(_TICK_S, self._settings.heartbeat_s)):
            problem = self._broken_limit()
            if problem:
                self._refusal = problem.code
                self._give_up(problem)
                return
            self._voice.speak(self._at(), self._limits.stall_s)
            try:
                renewed = self._renew_or_look(renewed)
            except TemporaryError as error:
                _log.warning(
                    "a heartbeat was lost: %s", error.detail, extra={"work": self._claim.work}
                )

    def _renew_or_look(self, renewed: float) -> float:
        with self._lock:
            told = self._told if self._changed else {}
            self._changed = False
        if not told and time.monotonic() - renewed < self._settings.heartbeat_s:
            self._hear(self._store.check_lease(self._claim))
            return renewed
        return self._renew(told)

    def _at(self) -> ProgressSnapshot:
        with self._lock:
            told = self._told
            return ProgressSnapshot(
                told.get("stage", "starting"),
                told.get("done", 0),
                told.get("total", 0),
                told.get("eta_s"),
                time.monotonic() - self._moved,
            )

    def _broken_limit(self) -> Problem | None:
        now, stage = time.monotonic(), self._told.get("stage", "starting")
        if now - self._moved > self._limits.stall_s:
            detail = f"no progress for {self._limits.stall_s:g} s while {stage}, which is the limit"
            return Problem(
                "stalled", detail, "the worker's log says what it was doing", blame=self._blame
            )
        if now - self._began > self._limits.total_s:
            detail = (
                f"not done after {self._limits.total_s:g} s, which is the limit; it was {stage}"
            )
            return Problem(
                "time_limit",
                detail,
                "raise the limit, or order a smaller region",
                blame=self._blame,
            )
        return None

    @property
    def _blame(self) -> Blame:
        """Only classifying runs the algorithm."""
        return "algorithm" if self._claim.stage == "classify" else "platform"
