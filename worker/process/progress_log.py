"""What a piece of work says in the log while it is done: how far it is, and that it seems to be stuck.

Owns when it speaks. Must not know what the work is, nor end it.
"""

import logging
import time
from dataclasses import dataclass
from typing import Final

from broker.order_store import Claim

SAYS_EVERY_S: Final = 30.0
SLOW_AFTER: Final = 0.5
"""The share of its limit that a step may be silent before somebody is told."""
_UNITS: Final = {
    "classifying": "tiles",
    "calibrating": "tiles",
    "fetching": "bytes",
    "unpacking": "bytes",
}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProgressSnapshot:
    """How far the work is; `total` is 0 where nobody knows it. `still_s`: since when it has not moved."""

    step: str
    done: int
    total: int
    eta_s: float | None
    still_s: float


class ProgressLog:
    """One piece of work, speaking from its lease's thread."""

    def __init__(self, claim: Claim, every_s: float = SAYS_EVERY_S) -> None:
        self._told = {"work": claim.work, "stage": claim.stage, "fence": claim.fence}
        self._every_s = every_s
        self._said_at, self._since, self._step, self._done = (
            time.monotonic(),
            time.monotonic(),
            "",
            0,
        )
        self._is_scan, self._is_slow = claim.stage != "deliver", False

    def speak(self, at: ProgressSnapshot, limit_s: float) -> None:
        """Say what is due. To be called often."""
        now = time.monotonic()
        self._warn_once(at, limit_s)
        if at.step != self._step:
            self._since, self._step, self._done = now - at.still_s, at.step, at.done
        if self._is_scan and now - self._said_at >= self._every_s:
            self._say(at, now)

    def _warn_once(self, at: ProgressSnapshot, limit_s: float) -> None:
        was_slow, self._is_slow = self._is_slow, at.still_s > SLOW_AFTER * limit_s
        if self._is_slow and not was_slow:
            text = "no progress for %.0f s while %s; at %g s it is given up"
            told = self._told | {
                "code": "slow_stage",
                "step": at.step,
                "done": at.done,
                "total": at.total,
            }
            _log.warning(text, at.still_s, at.step, limit_s, extra=told)

    def _say(self, at: ProgressSnapshot, now: float) -> None:
        per_s = round((at.done - self._done) / max(now - self._since, 1e-9), 1)
        unit = _UNITS.get(at.step, "steps")
        of = f"{at.done} of {at.total}" if at.total else f"{at.done}"
        eta = "" if at.eta_s is None else f", {at.eta_s:.0f} s to go"
        told = self._told | {
            "step": at.step,
            "done": at.done,
            "total": at.total,
            "per_s": per_s,
            "eta_s": at.eta_s,
        }
        _log.info("%s: %s %s, %.1f %s/s%s", at.step, of, unit, per_s, unit, eta, extra=told)
        self._said_at, self._since, self._done = now, now, at.done
