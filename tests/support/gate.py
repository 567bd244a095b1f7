"""A gate that stops a scan between two batches of tiles until the test opens it.

The worker of `tests.support.gated_worker` passes the gate before every batch of tiles.
The test and the worker communicate by files in the folder of the gate.
"""

import os
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Final

FOLDER_VARIABLE: Final = "GATE_OF_THE_TESTS"
"""The environment variable with the folder of the gate."""
LOOKS_EVERY_S: Final = 0.2
"""How often a waiting batch looks whether it may pass, so it waits at least this long."""
MAX_WAIT_S: Final = 170.0
"""Longer than any test needs; it ends the wait of a worker that a test left behind."""


class Gate:
    """A gate that is open until `close`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._closed = folder / "closed"

    def close(self, *, after: int = 0) -> None:
        """Let only the first `after` batches of each attempt at a scan pass.

        `passed` counts from zero again.
        """
        for path in self.folder.glob("*.passed"):
            path.unlink()
        temporary = self.folder / "closing"
        temporary.write_text(str(after))
        temporary.replace(self._closed)

    def open(self) -> None:
        """Let every batch pass."""
        self._closed.unlink(missing_ok=True)

    def held(self) -> set[int]:
        """Return the ids of the living processes that have a batch waiting now."""
        waiting = {int(path.name.partition(".")[0]) for path in self.folder.glob("*.waits")}
        return {pid for pid in waiting if Path(f"/proc/{pid}").exists()}

    def passed(self) -> int:
        """Return how many batches have passed since the last `close`."""
        return len(list(self.folder.glob("*.passed")))

    def pass_through(self, number: int, is_ending: Callable[[], bool]) -> None:
        """Wait in the worker until the batch with this number, counted from 0, may pass.

        Return at once when `is_ending` is true: a process that gives its work back ends its batch
        first. Raise TimeoutError after `MAX_WAIT_S`.
        """
        tick = Event()
        waiting = self.folder / f"{os.getpid()}.{number}.waits"
        for _ in range(int(MAX_WAIT_S / LOOKS_EVERY_S)):
            if number < self._allowed_batches() or is_ending():
                waiting.unlink(missing_ok=True)
                waiting.with_suffix(".passed").touch()
                return
            waiting.touch()
            tick.wait(LOOKS_EVERY_S)
        waiting.unlink(missing_ok=True)
        raise TimeoutError(f"batch {number} waited for {MAX_WAIT_S:g} s")

    def _allowed_batches(self) -> float:
        try:
            return int(self._closed.read_text())
        except FileNotFoundError:
            return float("inf")
