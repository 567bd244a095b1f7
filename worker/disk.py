"""File locks that end with their process, and writes that survive a power cut."""

import fcntl
import os
from pathlib import Path
from typing import IO

from broker.disk_space import DISK_FULL_ERRNOS

__all__ = [
    "DISK_FULL_ERRNOS",
    "in_use",
    "sync_file",
    "sync_folder",
    "try_lock",
]


def try_lock(file: IO[bytes]) -> bool:
    """Lock the file exclusively; return False if another process holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def in_use(path: Path) -> bool:
    """Return whether a process holds a lock on the file."""
    # Network file systems grant an exclusive lock only on a file that is open for writing.
    with path.open("r+b") as file:
        return not try_lock(file)


def sync_file(path: Path) -> None:
    """Make the content of the file survive a power cut."""
    _sync(path)


def sync_folder(folder: Path) -> None:
    """Make renames in the folder survive a power cut."""
    _sync(folder)


def sync_tree(folder: Path) -> None:
    """Make the folder and all files and folders below it survive a power cut."""
    for parent, _, names in os.walk(folder):
        for name in names:
            _sync(f"{parent}/{name}")
        _sync(parent)


def size_bytes(folder: Path) -> int:
    """Return the bytes of all files below the folder."""
    total_bytes = 0
    for parent, _, names in os.walk(folder):
        total_bytes += sum(Path(parent, name).stat().st_size for name in names)
    return total_bytes


def _sync(path: Path | str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
