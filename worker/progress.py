"""How far work is, when it must stop, and how long its parts take."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final, Protocol


class Progress(Protocol):
    """Receives how far the work is, and stops work that must end."""

    def report(self, step: str, done: int, total: int, /) -> None:
        """Report how far the step is (bytes, tiles, …).

        Raise `StopWork` if the work was cancelled or is no longer ours.
        """


CANCELLED: Final = "cancel"
"""Reason to stop: a caller cancelled the order. The value is the reply of `OrderStore.renew`."""
LEAVING: Final = "leaving"
"""Reason to stop: this worker ends."""
LEASE_LOST: Final = "lost"
"""Reason to stop: another worker may hold the work. Also a reply of `OrderStore.renew`."""
GIVE_BACK_REASONS: Final = frozenset({CANCELLED, LEAVING})
"""Reasons to stop work that is still ours: it is given back instead of left to its lease."""


class StopWork(Exception):  # noqa: N818 - not an error: somebody requested it
    """The work must end and write nothing more, for this `reason`."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class Stopwatch:
    """Seconds spent by name; each name may be measured many times. Not for several threads."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        """Measure with `now`, which returns seconds."""
        self._now = now
        self._spent_s: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Add the time until the context ends, also by an exception."""
        began_at = self._now()
        try:
            yield
        finally:
            self._spent_s[name] += self._now() - began_at

    def add(self, name: str, spent_s: float) -> None:
        """Add time that was measured elsewhere."""
        self._spent_s[name] += spent_s

    @property
    def timings(self) -> dict[str, float]:
        """Return the seconds so far as `NAME_s`, as the record of a scan holds them."""
        return {f"{name}_s": round(spent_s, 3) for name, spent_s in self._spent_s.items()}
