"""How far work is, when it must stop, and how long its parts take."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Protocol


class Progress(Protocol):
    """Receives how far the work is, and stops work that must end."""

    def report(self, step: str, done: int, total: int, /) -> None:
        """Report how far the step is (bytes, tiles, …).

        Raise `StopWork` if the work was cancelled or is no longer ours.
        """


class StopWork(Exception):  # noqa: N818 - not an error: somebody requested it
    """The work must end and write nothing more: it was cancelled, or its lease is lost."""


class Stopwatch:
    """Seconds spent by name; each name may be measured many times. Not for several threads."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        """Measure with `now`, which returns seconds."""
        self._now = now
        self._spent_s: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
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
