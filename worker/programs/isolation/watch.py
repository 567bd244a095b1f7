"""What a run takes of the machine: watched where nothing of the kernel limits it, and removed."""

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from broker.disk_space import reserved_bytes
from worker.process.process_tree import anonymous_bytes, available_bytes

_RESERVED_MEMORY_BYTES: Final = 512 * 2**20
"""The memory of the machine that is left to others."""
_UNWATCHED_DISK_BYTES: Final = 64 * 2**20
"""A program that has written less than this is not what fills a disk."""
_MOST_FILES: Final = 200_000
_BLOCK_BYTES: Final = 512
_RESERVED_FILES_SHARE: Final = 0.02


def takes_too_much_memory(process_ids: list[int], limit_bytes: int | None) -> bool:
    """Whether the processes take more than the limit, or more than the machine can spare."""
    taken_bytes = sum(map(anonymous_bytes, process_ids))
    if limit_bytes is not None and taken_bytes > limit_bytes:
        return True
    is_much = taken_bytes > _RESERVED_MEMORY_BYTES
    return is_much and available_bytes() < _RESERVED_MEMORY_BYTES


def takes_too_much_disk(folder: Path, limit_bytes: int | None) -> bool:
    """Whether the files below the folder are more than the limit, or fill the disk.

    They fill it where less is free than is reserved for everything but slides. A folder of very
    many files is counted up to a bound, which is more than a program needs.
    """
    if limit_bytes is None and not _is_nearly_full(folder):
        return False
    if limit_bytes is None:
        limit_bytes = _UNWATCHED_DISK_BYTES
    taken_bytes = 0
    for number, entry_bytes in enumerate(_sizes(folder)):
        taken_bytes += entry_bytes
        if taken_bytes > limit_bytes or number > _MOST_FILES:
            return True
    return False


def _is_nearly_full(folder: Path) -> bool:
    disk = os.statvfs(folder)
    free_bytes = disk.f_bavail * disk.f_frsize
    if free_bytes < reserved_bytes(disk.f_blocks * disk.f_frsize):
        return True
    return disk.f_favail < _RESERVED_FILES_SHARE * disk.f_files


def _sizes(folder: Path) -> Iterator[int]:
    """Yield what each file and folder below the folder takes of the disk."""
    waiting = [str(folder)]
    while waiting:
        try:
            entries = os.scandir(waiting.pop())
        except OSError:  # it is gone by now, or was closed to us
            continue
        with entries:
            for entry in entries:
                try:
                    yield entry.stat(follow_symlinks=False).st_blocks * _BLOCK_BYTES
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                except FileNotFoundError:
                    continue


def remove_folder(folder: Path) -> None:
    """Remove a folder in which no program works any more, also what it has closed to its user.

    Links are removed, never followed.
    """
    for parent, names, _ in os.walk(folder):
        for name in names:
            inner = Path(parent, name)
            with suppress(OSError):
                if not inner.is_symlink():
                    inner.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def reserved_cores(count: int, stack: ExitStack) -> list[int]:
    """Return the numbers of so many cores, first those that no other program has.

    They are reserved until the stack is closed or the process has ended: by the names of sockets,
    which leave nothing behind. Fewer are returned where this process may use no more.
    """
    own = sorted(os.sched_getaffinity(0))
    free: list[int] = []
    for core in own:
        if len(free) < count and _was_reserved(core, stack):
            free.append(core)
    others = [core for core in own if core not in free]
    return (free + others)[:count]


def _was_reserved(core: int, stack: ExitStack) -> bool:
    holder = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        holder.bind(f"\0slidelane-core-{core}")
    except OSError:
        holder.close()
        return False
    stack.enter_context(holder)
    return True
