"""Bounds what networks print: TorchScript writes to `sys.stdout`, which a worker logs."""

import sys
from io import TextIOBase
from threading import Lock
from typing import Final, TextIO

MAX_CHARS: Final = 64 * 1024
"""Of all that is printed in the life of a process: enough for an author to find a fault."""
_CUT: Final = "\n... cut\n"


class BoundedOutput(TextIOBase):
    """Passes on the first `MAX_CHARS` characters, and forgets the others. Threads may share it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._left = MAX_CHARS
        self._lock = Lock()

    def write(self, text: str, /) -> int:
        """Take the text; return its length."""
        with self._lock:
            if self._left > 0:
                self._stream.write(text[: self._left])
                self._left -= len(text)
                if self._left <= 0:
                    self._stream.write(_CUT)
        return len(text)

    def flush(self) -> None:
        """Flush the stream behind it."""
        self._stream.flush()

    def writable(self) -> bool:
        """Return True."""
        return True


def bound_prints() -> None:
    """Bound what is printed from now on; nothing changes where it is bounded already."""
    if not isinstance(sys.stdout, BoundedOutput):
        sys.stdout = BoundedOutput(sys.stdout)
