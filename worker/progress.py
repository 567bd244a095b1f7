"""How far work is, when it must stop, and how long its parts take."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from time import monotonic, process_time
from typing import Final, Protocol, runtime_checkable


class Progress(Protocol):
    """Receives how far the work is, and stops work that must end."""

    def report(self, step: str, done: int, total: int, /) -> None:
        """Report how far the step is (bytes, tiles, …).

        Raise `StopWork` if the work was cancelled or is no longer ours.
        """


@runtime_checkable
class Watched(Protocol):
    """A `Progress` that gives up work which makes none for too long."""

    def moved(self) -> None:
        """Note that the work moves on, though nothing says how far it is. Any thread may call."""


class ProcessorTime:
    """Tells work that computes from work that hangs, where it cannot say how far it is."""

    LEAST_SHARE: Final = 0.05
    """Of one core: what only waits uses less."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        """Measure with `now`, which returns seconds."""
        self._now = now
        self._looked_at = 0.0
        self._used_s = float("inf")

    def has_computed(self, used_s: float) -> bool:
        """Return whether it has, since the last call, used a share of a core.

        `used_s`: the seconds of all cores that it has used in its life.
        """
        now = self._now()
        least_s = self.LEAST_SHARE * (now - self._looked_at)
        has_computed = used_s - self._used_s > least_s
        self._looked_at = now
        self._used_s = used_s
        return has_computed


@contextmanager
def computing(progress: Progress, used_s: Callable[[], float] = process_time) -> Iterator[None]:
    """Count as progress, until the context ends, that this process uses a processor.

    It is for one call that takes long and reports nothing meanwhile. `used_s` returns the seconds
    of all cores so far.
    """
    if not isinstance(progress, Watched):
        yield
        return
    ended = Event()
    thread = Thread(target=_watch, args=(progress, used_s, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _watch(progress: Watched, used_s: Callable[[], float], ended: Event) -> None:
    processor = ProcessorTime()
    while not ended.wait(_WATCH_S):
        if processor.has_computed(used_s()):
            progress.moved()


_WATCH_S: Final = 1.0
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
