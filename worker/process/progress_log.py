"""Log how far a piece of work is, and warn once when it seems to be stuck.

This module decides when a line is due. It never ends the work.
"""

import logging
import time
from dataclasses import dataclass
from typing import Final

from broker.order_store import Claim

INTERVAL_S: Final = 30.0
SLOW_SHARE: Final = 0.5
"""The share of its stall limit after which a step without progress is logged as slow."""
_UNITS: Final = {
    "classifying": "tiles",
    "calibrating": "tiles",
    "fetching": "bytes",
    "unpacking": "bytes",
}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProgressSnapshot:
    """How far a step is; `total` is 0 if it is unknown. `still_s`: seconds without progress."""

    step: str
    done: int
    total: int
    eta_s: float | None
    still_s: float


class ProgressLog:
    """The progress lines of one piece of work, written from its lease's thread."""

    def __init__(self, claim: Claim, interval_s: float = INTERVAL_S) -> None:
        self._fields = {"work": claim.work, "stage": claim.stage, "fence": claim.fence}
        self._interval_s = interval_s
        self._logs_progress = claim.stage != "deliver"
        now = time.monotonic()
        self._logged_at = now
        self._counting_since = now
        self._counted_from = 0
        self._step = ""
        self._is_slow = False

    def write(self, snapshot: ProgressSnapshot, limit_s: float) -> None:
        """Write the lines that are due; to be called often. `limit_s`: the stall limit."""
        now = time.monotonic()
        self._warn_once(snapshot, limit_s)
        if snapshot.step != self._step:
            self._counting_since = now - snapshot.still_s
            self._step = snapshot.step
            self._counted_from = snapshot.done
        if self._logs_progress and now - self._logged_at >= self._interval_s:
            self._log_progress(snapshot, now)

    def _warn_once(self, snapshot: ProgressSnapshot, limit_s: float) -> None:
        was_slow = self._is_slow
        self._is_slow = snapshot.still_s > SLOW_SHARE * limit_s
        if not self._is_slow or was_slow:
            return
        fields = {
            **self._fields,
            "code": "slow_stage",
            "step": snapshot.step,
            "done": snapshot.done,
            "total": snapshot.total,
        }
        _log.warning(
            "no progress for %.0f s while %s; at %g s it is given up",
            snapshot.still_s,
            snapshot.step,
            limit_s,
            extra=fields,
        )

    def _log_progress(self, snapshot: ProgressSnapshot, now: float) -> None:
        unit = _UNITS.get(snapshot.step, "steps")
        elapsed_s = max(now - self._counting_since, 1e-9)
        per_s = round((snapshot.done - self._counted_from) / elapsed_s, 1)
        done = str(snapshot.done)
        if snapshot.total:
            done = f"{snapshot.done} of {snapshot.total}"
        eta = ""
        if snapshot.eta_s is not None:
            eta = f", {snapshot.eta_s:.0f} s to go in this step"
        fields = {
            **self._fields,
            "step": snapshot.step,
            "done": snapshot.done,
            "total": snapshot.total,
            "per_s": per_s,
            "eta_s": snapshot.eta_s,
        }
        text = "%s: %s %s, %.1f %s/s%s"
        _log.info(text, snapshot.step, done, unit, per_s, unit, eta, extra=fields)
        self._logged_at = now
        self._counting_since = now
        self._counted_from = snapshot.done
