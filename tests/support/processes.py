"""The processes that a process has started, as Linux' /proc shows them."""

import os
import signal
from contextlib import suppress
from pathlib import Path


def family(pid: int) -> list[int]:
    """Return the process and all that it has started, its children's children included."""
    found = [pid]
    for parent in found:
        for thread in Path(f"/proc/{parent}/task").glob("*"):
            with suppress(OSError):
                found += [int(child) for child in (thread / "children").read_text().split()]
    return found


def signal_family(pid: int, number: signal.Signals) -> list[int]:
    """Signal every process of a family, as systemd does; return their ids."""
    pids = family(pid)
    for member in pids:
        with suppress(ProcessLookupError):
            os.kill(member, number)
    return pids


def command(pid: int) -> str:
    """Return the command line of a process; it is empty once the process has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


def child_of_pool(worker: int) -> int:
    """Return the child of a worker that classifies."""
    (child,) = [pid for pid in family(worker) if "spawn_main" in command(pid)]
    return child
