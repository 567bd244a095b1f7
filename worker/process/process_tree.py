"""What Linux' /proc shows of a process, of all that it has started, and of the memory they take."""

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
        for thread in _PROC.joinpath(str(parent), "task").glob("*/children"):
            with suppress(OSError):
                children = [int(child) for child in thread.read_text().split()]
                found.extend(children)
                waiting.extend(children)
    return found


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
        status = _PROC.joinpath(str(process_id), "status").read_text()
    except OSError:
        return 0
    return _kilobytes(status, "RssAnon:") * 1024


def available_bytes() -> int:
    """Return the memory of the machine that is free to be taken."""
    return _kilobytes(_PROC.joinpath("meminfo").read_text(), "MemAvailable:") * 1024


def _kilobytes(text: str, name: str) -> int:
    for line in text.splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0
