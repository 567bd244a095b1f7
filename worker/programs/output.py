"""What a program prints, line by line: its progress, and the lines for the order's log."""

import re
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from broker.secret_forms import masked

FIRST_LINES: Final = 150
LAST_LINES: Final = 50
"""How many of the first and of the last lines go into the order's log, which holds 500."""
_MOST_CHARS: Final = 500
_MOST_PENDING_CHARS: Final = 2**16
_PROGRESS: Final = re.compile(r"slidelane:progress\s+(\d{1,9})\s*/\s*(\d{1,9})")


class LineLog(Protocol):
    """Where lines for people go, such as the log of an order."""

    def write_lines(self, lines: Sequence[str], /) -> None:
        """Write the lines. Raise `StopWork` if the work must end."""


class NoLog:
    """Where nobody reads lines."""

    def write_lines(self, lines: Sequence[str], /) -> None:
        """Do nothing."""


class OutputLines:
    """Takes what a program prints, in pieces, and keeps what is to be shown of it."""

    def __init__(self, secrets: Iterable[str], log: LineLog) -> None:
        """Write the first lines into `log` as they come, and the last at the end.

        Lines in between are only in the file of the whole output. None shows one of the `secrets`.
        """
        self.progress: tuple[int, int] | None = None
        """How far the program says it is: done, total; None as long as it says nothing."""
        self.last_line = ""
        """The last line that is not empty, without secrets."""
        self._secrets = tuple(secrets)
        self._log = log
        self._pending = ""
        self._written = 0
        self._rest: deque[str] = deque(maxlen=LAST_LINES)
        self._rest_lines = 0

    def take(self, text: str) -> None:
        """Take the next piece. Raise `StopWork` if the work must end."""
        whole, newline, self._pending = (self._pending + text).rpartition("\n")
        if len(self._pending) > _MOST_PENDING_CHARS:
            self._pending = self._pending[-_MOST_PENDING_CHARS:]
        if newline:
            self._take_lines(whole)

    def end(self) -> None:
        """Take what is left, and write the last lines. Raise `StopWork` if the work must end."""
        if self._pending.strip():
            self._take_lines(self._pending)
        self._pending = ""
        left_out = self._rest_lines - len(self._rest)
        if left_out:
            self._log.write_lines([f"{left_out} lines of the program are only in output.log"])
        if self._rest:
            self._log.write_lines(list(self._rest))
        self._rest.clear()
        self._rest_lines = 0

    def _take_lines(self, text: str) -> None:
        lines = []
        for line in masked(text, self._secrets).splitlines():
            shown = line.strip()[:_MOST_CHARS]
            if shown and not self._takes_progress(shown):
                lines.append(shown)
        if not lines:
            return
        self.last_line = lines[-1]
        now = lines[: FIRST_LINES - self._written]
        if now:
            self._written += len(now)
            self._log.write_lines(now)
        later = lines[len(now) :]
        self._rest.extend(later)
        self._rest_lines += len(later)

    def _takes_progress(self, line: str) -> bool:
        """Return whether the line says how far the program is, which is then noted."""
        found = _PROGRESS.fullmatch(line)
        if not found:
            return False
        done, total = map(int, found.groups())
        self.progress = (min(done, total), total)
        return True
