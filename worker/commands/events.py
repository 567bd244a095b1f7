"""What a command line is told while its worker process runs: one JSON object a line.

Each object has `event`: `progress`, `line`, `failed` or `done`.
"""

import json
import os
import time
from typing import IO, Any, Final, Self

from broker.errors import Problem

_EVERY_S: Final = 0.1


class EventWriter:
    """Writes the events, and receives the progress of a scan."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._step = ""
        self._written_at = 0.0

    @classmethod
    def take_stdout(cls) -> Self:
        """Return a writer to what is stdout now; from now on stdout is stderr.

        What a library or an algorithm prints would not be JSON.
        """
        stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        return cls(stream)

    def report(self, step: str, done: int, total: int, /) -> None:
        """Write how far the step is, ten times a second at most."""
        now = time.monotonic()
        if step == self._step and done < total and now - self._written_at < _EVERY_S:
            return
        self._step = step
        self._written_at = now
        self.write("progress", step=step, done=done, total=total)

    def line(self, text: str) -> None:
        """Write one line for people."""
        self.write("line", text=text)

    def failed(self, problem: Problem) -> None:
        """Write why there is no result."""
        self.write(
            "failed",
            code=problem.code,
            detail=problem.detail,
            hint=problem.hint,
            field=problem.field,
        )

    def write(self, event: str, **fields: Any) -> None:
        """Write one event at once."""
        self._stream.write(json.dumps({"event": event, **fields}) + "\n")
        self._stream.flush()
