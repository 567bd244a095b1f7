"""The machine's /tmp, where a program gets none of its own: one program uses it at a time.

Programs for Techcyte's model hosting write files there whose names are fixed. Two at a time would
take each other's slide.
"""

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from worker.disk import try_lock

_LOCK: Final = ".shared-tmp"
_NAMES: Final = ("downloaded_image.svs", "debug_files.zip", "debug_info.txt")


class SharedTmp:
    """The turn of one program, for which those of all workers with the same folder wait."""

    def __init__(self, folder: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.fdopen(os.open(folder / _LOCK, flags, 0o600), "r+b")
        self._was_ours = False

    def is_ours(self) -> bool:
        """Take the turn if it is free; return whether it is ours."""
        if not self._was_ours and try_lock(self._file):
            self._was_ours = True
            _remove_files()  # of one that was killed
        return self._was_ours

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove what the program has left under the fixed names, and end the turn."""
        if self._was_ours:
            _remove_files()
        self._file.close()


def _remove_files() -> None:
    for name in _NAMES:
        path = Path(tempfile.gettempdir(), name)
        with suppress(OSError):
            if path.lstat().st_uid == os.geteuid():
                path.unlink()
