"""What Linux' /proc shows of a process, of all that it has started, and of the memory they take."""

import mmap
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")


def descendants(process_id: int) -> list[int]:
    """Return the ids of a process's children and all that they have started."""
    found: list[int] = []
    waiting = [process_id]
    while waiting:
        parent = waiting.pop()
        for thread in _threads(parent):
            with suppress(OSError), open(f"/proc/{parent}/task/{thread}/children") as file:  # noqa: PTH123
                children = [int(child) for child in file.read().split()]
                found.extend(children)
                waiting.extend(children)
    return found


def _threads(process_id: int) -> list[str]:
    """Return the ids of a process's threads; nothing where it has ended."""
    try:
        return os.listdir(f"/proc/{process_id}/task")  # noqa: PTH208 - many times a second
    except OSError:
        return []


def is_alive(process_id: int) -> bool:
    """Return whether the process still runs: it is neither gone nor waiting to be collected."""
    try:
        state = _PROC.joinpath(str(process_id), "stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in ("Z", "X")


def anonymous_bytes(process_id: int) -> int:
    """Return the memory of a process that it shares with nobody, 0 where it has ended."""
    try:
        with open(f"/proc/{process_id}/statm") as file:  # noqa: PTH123 - many times a second
            _, resident, shared, *_ = file.read().split()
    except OSError:
        return 0
    return (int(resident) - int(shared)) * mmap.PAGESIZE


def used_s(process_id: int) -> float:
    """Return the seconds of all cores that a process and its children have used.

    Those of children that have ended count, too; its own do not.
    """
    ticks = sum(_ticks(process_id)[2:])
    for child in descendants(process_id):
        ticks += sum(_ticks(child))
    return ticks / os.sysconf("SC_CLK_TCK")


def _ticks(process_id: int) -> list[int]:
    """Return utime, stime, cutime and cstime of proc_pid_stat(5); nothing where it has ended."""
    try:
        text = _PROC.joinpath(str(process_id), "stat").read_text()
    except OSError:
        return []
    return [int(field) for field in text.rpartition(")")[2].split()[11:15]]


def available_bytes() -> int:
    """Return the memory of the machine that is free to be taken."""
    return _kilobytes(_PROC.joinpath("meminfo").read_text(), "MemAvailable:") * 1024


def _kilobytes(text: str, name: str) -> int:
    for line in text.splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0
