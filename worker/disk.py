"""File locks that end with their process, and writes that survive a power cut."""

import fcntl
import os
import stat
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Final

from broker.disk_space import DISK_FULL_ERRNOS

__all__ = [
    "DISK_FULL_ERRNOS",
    "in_use",
    "sync_file",
    "sync_folder",
    "try_lock",
]

_SYNC_THREADS: Final = 4


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


def sync_tree(folder: Path) -> int:
    """Make the folder and all files and folders below it survive a power cut.

    Return the bytes of the files.
    """
    paths: list[str] = []
    for parent, _, names in os.walk(folder):
        paths += [parent, *(f"{parent}/{name}" for name in names)]
    # The file system makes one commit of what is asked for at the same time, and a thread that
    # waits for the disk twenty times loses its core as often.
    with ThreadPoolExecutor(_SYNC_THREADS, thread_name_prefix="sync") as pool:
        shares = [paths[first::_SYNC_THREADS] for first in range(_SYNC_THREADS)]
        return sum(pool.map(_sync_all, shares))


def _sync_all(paths: Iterable[str]) -> int:
    """Sync files and folders; return the bytes of the files."""
    return sum(map(_sync, paths))


def _sync(path: Path | str) -> int:
    """Sync a file or folder; return the bytes of a file, 0 for a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if stat.S_ISDIR(status.st_mode):
        return 0
    return status.st_size
