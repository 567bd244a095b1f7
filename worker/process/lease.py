"""Keep a claim alive while its work is done.

A thread renews the lease, reports progress, notices when the work must stop, and gives up work that
breaks its limits.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Event, Lock, Thread
from typing import Any, ParamSpec, Protocol, Self, TypeVar

from broker.errors import Blame, Problem, TemporaryError
from broker.order_store import Claim, LeaseState
from broker.settings.config import BrokerSettings
from worker.process.progress_log import ProgressLog, ProgressSnapshot
from worker.progress import GIVE_BACK_REASONS, LEASE_LOST, LEAVING, StopWork

_TICK_S = 1.0
_STEP = "stage"
"""The key of the step in a report: an older name, which the records of orders keep."""
P = ParamSpec("P")
T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long work may take in all, and how long without any progress."""

    total_s: float
    stall_s: float


class Claims(Protocol):
    """Where claims are kept: `OrderStore`, or `ViewedSlides`."""

    def renew(self, claim: Claim, progress: Mapping[str, Any] | None = None, /) -> LeaseState:
        """Prolong the lease and store the progress. Return how the claim stands."""

    def check_lease(self, claim: Claim, /) -> LeaseState:
        """Return how the claim stands; write nothing."""


class Lease:
    """A claim that is kept alive until the context ends.

    `progress` raises `StopWork` once the work was cancelled or is no longer ours. `leaving` is set
    when this process is to end. `give_up` is called from the lease's own thread with the problem of
    work that broke its limits, because that work may be stuck where no exception reaches it.
    """

    def __init__(
        self,
        store: Claims,
        claim: Claim,
        settings: BrokerSettings,
        limits: Limits,
        leaving: Event,
        give_up: Callable[[Problem], None],
    ) -> None:
        self._store = store
        self._claim = claim
        self._settings = settings
        self._limits = limits
        self._leaving = leaving
        self._give_up = give_up
        self._ended = Event()
        self._lock = Lock()
        self._reported: dict[str, Any] = {}
        self._has_new_progress = False
        self._step_first_done = 0
        now = time.monotonic()
        self._began_at = now
        self._step_began_at = now
        self._moved_at = now
        self._confirmed_at = now
        self._stop_reason = ""
        self._progress_log = ProgressLog(claim)
        self._thread = Thread(target=self._run, name=f"lease-{claim.work}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def limit(self, limits: Limits) -> None:
        """Replace the limits from now on."""
        self._limits = limits

    def report(self, step: str, done: int, total: int) -> None:
        """Report how far the current step is. Raise `StopWork` if the work must end."""
        now = time.monotonic()
        with self._lock:
            if self._reported.get(_STEP) != step:
                self._step_began_at = now
                self._step_first_done = done
            report = {_STEP: step, "done": done, "total": total}
            if report != {name: self._reported.get(name) for name in report}:
                self._moved_at = now
                self._has_new_progress = True
            self._reported = report | {"eta_s": self._eta_s(now, done, total)}
        self.check()

    def moved(self) -> None:
        """Note that the work moves on, though nothing says how far it is. Any thread may call."""
        with self._lock:
            self._moved_at = time.monotonic()

    def _eta_s(self, now: float, done: int, total: int) -> float | None:
        """Return the seconds left at the speed of this attempt, which may have resumed another."""
        moved = done - self._step_first_done
        left = total - done
        if moved <= 0 or left < 0:
            return None
        return round((now - self._step_began_at) / moved * left, 1)

    def check_held(self) -> None:
        """Raise `StopWork` if another worker may hold the work by now.

        It may when the work was taken over, or Redis confirmed nothing for the length of a lease.
        """
        if self._stop_reason and self._stop_reason not in GIVE_BACK_REASONS:
            raise StopWork(self._stop_reason)
        if time.monotonic() - self._confirmed_at > self._settings.lease_s:
            self._stop_reason = LEASE_LOST
            raise StopWork(self._stop_reason)

    def check_held_while_copying(self, _done_bytes: int, _total_bytes: int) -> None:
        """Raise `StopWork` like `check_held`; for `Storage.share`, which reports its progress."""
        self.check_held()

    def check(self) -> None:
        """Raise `StopWork` if the work must end, also because somebody requested that."""
        self.check_held()
        if not self._stop_reason and self._leaving.is_set():
            self._stop_reason = LEAVING
        if self._stop_reason:
            raise StopWork(self._stop_reason)

    def retry_write(self, write: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `write` with the arguments until Redis answers; return its result.

        It is for writes of what took long to compute. Raise `StopWork` once another worker may
        hold the work.
        """
        while True:
            try:
                return write(*args, **kwargs)
            except TemporaryError as error:
                self._log_outage("a write is tried again", error)
                self.check_held()
                time.sleep(_TICK_S)

    def confirm(self) -> None:
        """Renew the lease now, before something that cannot be undone.

        Raise `StopWork` if the work must end, `TemporaryError` if Redis does not answer.
        """
        self._renew()
        self.check()

    def _renew(self, report: dict[str, Any] | None = None) -> float:
        # The time of the request counts: this process may be suspended before the answer comes.
        requested_at = time.monotonic()
        answer = self._store.renew(self._claim, report)
        self._apply(answer)
        if answer != LEASE_LOST:
            self._confirmed_at = requested_at
        return requested_at

    def _apply(self, answer: str) -> None:
        if answer != "ok":
            self._stop_reason = answer

    def _run(self) -> None:
        renewed_at = time.monotonic()
        while not self._ended.wait(min(_TICK_S, self._settings.heartbeat_s)):
            problem = self._broken_limit()
            if problem:
                self._stop_reason = problem.code
                self._give_up(problem)
                return
            self._progress_log.write(self._snapshot(), self._limits.stall_s)
            try:
                renewed_at = self._renew_or_check(renewed_at)
            except TemporaryError as error:
                self._log_outage("a heartbeat was lost", error)

    def _log_outage(self, what: str, error: TemporaryError) -> None:
        fields = {"work": self._claim.work, "code": error.code}
        _log.warning("%s: %s", what, error.detail, extra=fields)

    def _renew_or_check(self, renewed_at: float) -> float:
        """Renew the lease if there is new progress or a heartbeat is due, else only check it.

        Return when the lease was renewed last.
        """
        with self._lock:
            report: dict[str, Any] = {}
            if self._has_new_progress:
                report = self._reported
            self._has_new_progress = False
        if not report and time.monotonic() - renewed_at < self._settings.heartbeat_s:
            self._apply(self._store.check_lease(self._claim))
            return renewed_at
        return self._renew(report)

    def _snapshot(self) -> ProgressSnapshot:
        with self._lock:
            return ProgressSnapshot(
                step=self._reported.get(_STEP, "starting"),
                done=self._reported.get("done", 0),
                total=self._reported.get("total", 0),
                eta_s=self._reported.get("eta_s"),
                still_s=time.monotonic() - self._moved_at,
            )

    def _broken_limit(self) -> Problem | None:
        now = time.monotonic()
        step = self._reported.get(_STEP, "starting")
        if now - self._moved_at > self._limits.stall_s:
            return Problem(
                "stalled",
                f"no progress for {self._limits.stall_s:g} s while {step}, which is the limit",
                "the worker's log says what it was doing",
                blame=self._blame,
            )
        if now - self._began_at > self._limits.total_s:
            return Problem(
                "time_limit",
                f"not done after {self._limits.total_s:g} s, which is the limit; it was {step}",
                "raise the limit, or order a smaller region",
                blame=self._blame,
            )
        return None

    @property
    def _blame(self) -> Blame:
        """Return who is to blame for a broken limit; only classifying runs the algorithm."""
        if self._claim.stage == "classify":
            return "algorithm"
        return "platform"
