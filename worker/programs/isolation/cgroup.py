"""A cgroup of version 2 for one run, where the system has delegated one to the worker.

The kernel then limits memory and processors, and ends all processes of the run at once, whatever
they have become. systemd delegates with `Delegate=yes`; the worker's own processes have to be in a
group below (`DelegateSubgroup=`), because a group that has processes gives its children no limits.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self

from worker.process.cgroup_limits import own_folder
from worker.programs.isolation.request import Request

_PREFIX: Final = "slidelane-run-"
_PERIOD_US: Final = 100_000
_MOST_PROCESSES: Final = 4096
_REMOVAL_ROUNDS: Final = 100
_ROOT: Final = Path("/")


def delegated_folder(root: Path = _ROOT) -> Path | None:
    """Return the folder in which this process may make groups with limits, None if there is none.

    It is that of this process or the one above, in which the controller of memory is enabled.
    """
    own = own_folder(root)
    if own is None:
        return None
    for folder in (own, own.parent):
        with suppress(OSError):
            controllers = (folder / "cgroup.subtree_control").read_text().split()
            if "memory" in controllers and os.access(folder, os.W_OK | os.X_OK):
                return folder
    return None


class Cgroup:
    """The group of one run; without a folder, a group that does nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    @classmethod
    @contextmanager
    def created(cls, request: Request) -> Iterator[Self]:
        """Yield a group with the limits of the request in `request.cgroup`, which may be empty.

        It is removed afterwards, and with it those that killed supervisors left behind.
        """
        if not request.cgroup:
            yield cls(None)
            return
        parent = Path(request.cgroup)
        for left in parent.glob(f"{_PREFIX}*"):
            with suppress(OSError):  # it is in use
                left.rmdir()
        folder = parent / f"{_PREFIX}{os.getpid()}"
        folder.mkdir(exist_ok=True)
        _write_limits(folder, request)
        try:
            yield cls(folder)
        finally:
            _remove(folder)

    def enter(self) -> None:
        """Move this process into the group. Raises OSError."""
        if self._folder is not None:
            (self._folder / "cgroup.procs").write_text("0")  # this process, in every PID namespace

    def was_out_of_memory(self) -> bool:
        """Whether the kernel has ended a process of the group because of its limit."""
        if self._folder is None:
            return False
        with suppress(OSError):
            for line in (self._folder / "memory.events").read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill" and int(count) > 0:
                    return True
        return False

    def kill(self) -> None:
        """End all processes of the group at once: since Linux 5.14."""
        if self._folder is not None:
            with suppress(OSError):
                (self._folder / "cgroup.kill").write_text("1")


def _write_limits(folder: Path, request: Request) -> None:
    """Write what the group may take. A controller that is not enabled limits nothing."""
    limits = {"pids.max": str(_MOST_PROCESSES)}
    if request.memory_bytes is not None:
        limits["memory.max"] = str(request.memory_bytes)
        limits["memory.swap.max"] = "0"
        limits["memory.oom.group"] = "1"  # all of it ends, not one process that others wait for
    if request.cpus is not None:
        limits["cpu.max"] = f"{int(request.cpus * _PERIOD_US)} {_PERIOD_US}"
    for name, text in limits.items():
        with suppress(OSError):
            (folder / name).write_text(text)


def _remove(folder: Path) -> None:
    """Remove the group; its last processes may take a moment to leave it."""
    for _ in range(_REMOVAL_ROUNDS):
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.01)
        else:
            return
