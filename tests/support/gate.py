"""A gate at which a test holds a scan, however fast the machine classifies it.

The worker of `tests.support.gated_worker` asks the gate before every batch of tiles.
The test and the worker know the gate by its folder.
"""

import os
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Final

FOLDER: Final = "GATE_OF_THE_TESTS"
"""The environment variable that names the folder to the worker."""
LOOKS_EVERY_S: Final = 0.2
"""A batch that was held has waited at least so long."""
WAITS_S: Final = 170.0
"""Longer than a test needs. A worker that a test left behind does not wait forever."""


class Gate:
    """Open until a test closes it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._bar = folder, folder / "closed"

    def close(self, *, after: int = 0) -> None:
        """Let only the first `after` batches of each attempt at a scan pass.

        From now on `passed` counts anew.
        """
        for path in self.folder.glob("*.passed"):
            path.unlink()
        beside = self.folder / "closing"
        beside.write_text(str(after))
        beside.replace(self._bar)

    def open(self) -> None:
        """Let every batch pass."""
        self._bar.unlink(missing_ok=True)

    def held(self) -> set[int]:
        """The processes that live and whose batch waits now."""
        waiting = {int(path.name.partition(".")[0]) for path in self.folder.glob("*.waits")}
        return {pid for pid in waiting if Path(f"/proc/{pid}").exists()}

    def passed(self) -> int:
        """How many batches have passed since the gate was closed last."""
        return len(list(self.folder.glob("*.passed")))

    def pass_through(self, number: int, is_ending: Callable[[], bool]) -> None:
        """For the worker: wait until the batch with this number, from 0, may pass.

        A process that is to end waits no longer: its main thread waits for the batch.
        """
        tick, waits = Event(), self.folder / f"{os.getpid()}.{number}.waits"
        for _ in range(int(WAITS_S / LOOKS_EVERY_S)):
            if number < self._allowed() or is_ending():
                waits.unlink(missing_ok=True)
                waits.with_suffix(".passed").touch()
                return
            waits.touch()
            tick.wait(LOOKS_EVERY_S)
        waits.unlink(missing_ok=True)
        raise TimeoutError(f"batch {number} waited for {WAITS_S:g} s")

    def _allowed(self) -> float:
        try:
            return int(self._bar.read_text())
        except FileNotFoundError:
            return float("inf")
