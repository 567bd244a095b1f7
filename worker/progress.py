"""How far work is, how long its stages take, and when it must stop."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Protocol


class Progress(Protocol):
    """Who hears how far the work is and says when it must stop."""

    def progress(self, stage: str, done: int, total: int) -> None:
        """Say how far `stage` is (bytes, tiles, …). Raises `StopWork` when the work was cancelled or is no longer ours."""


class StopWork(Exception):  # noqa: N818 - not an error: somebody asked
    """The work must end without a trace: it was cancelled, or its lease is lost."""


class Stopwatch:
    """Seconds by stage; a stage may be entered again and again. For one thread. `now` tells the time."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._spent_s: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """What happens inside counts for this stage, also when it ends in an exception."""
        began = self._now()
        try:
            yield
        finally:
            self._spent_s[name] += self._now() - began

    def add(self, name: str, spent_s: float) -> None:
        """So much was spent on this stage, as somebody else measured."""
        self._spent_s[name] += spent_s

    @property
    def timings(self) -> dict[str, float]:
        """What was measured so far, as the record of a scan has it: `NAME_s`."""
        return {f"{name}_s": round(spent_s, 3) for name, spent_s in self._spent_s.items()}
