"""File locks that the kernel drops when their process dies, and folders that survive a power cut."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import IO


def try_lock(file: IO[bytes]) -> bool:
    """Lock the file for us alone, if nobody else holds it."""
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def in_use(path: Path) -> bool:
    """Whether anybody holds a lock on the file. Opened to write: network file systems lock exclusively only then."""
    with path.open("r+b") as file:
        return not try_lock(file)


def sync_folder(folder: Path) -> None:
    """Make renames in the folder survive a power cut."""
    number = os.open(folder, os.O_RDONLY)
    os.fsync(number)
    os.close(number)
