"""The processor cores and the memory that this process is granted.

Reads CPU affinity and the cgroups of either version: the process's own cgroup and all above it.
`root` is the folder below which the kernel's files lie. No setting is read here.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import ceil, inf, isfinite
from pathlib import Path, PurePosixPath
from typing import Final

_ROOT: Final = Path("/")
_UNLIMITED_BYTES: Final = 2**62
"""Version 1 states no limit as the largest multiple of a page below 2^63."""


@dataclass(frozen=True, slots=True)
class Limit:
    """The text of one kernel file, and the cores or bytes it stands for; `inf` for no limit."""

    file: Path
    text: str
    amount: float


@dataclass(frozen=True, slots=True)
class _Mount:
    """A mounted cgroup hierarchy: the part of it below `top` lies in `folder`."""

    top: PurePosixPath
    folder: Path
    kind: str
    controllers: frozenset[str]

    def controls(self, controller: str) -> bool:
        """Return whether the controller is in this hierarchy; version 2 has all in one."""
        return self.kind == "cgroup2" or controller in self.controllers


def granted_cores(root: Path = _ROOT) -> int:
    """Return the smaller of affinity and quota, at least one.

    A part of a core counts as one: left out it would be idle, and the kernel enforces the quota
    anyway. `os.cpu_count` counts the cores of the machine.
    """
    quotas = [ceil(limit.amount) for limit in core_limits(root) if isfinite(limit.amount)]
    return max(1, min([usable_cores(), *quotas]))


def granted_memory_bytes(root: Path = _ROOT) -> int:
    """Return the smaller of the machine's memory and the limits of the cgroups."""
    machine_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [int(limit.amount) for limit in memory_limits(root) if isfinite(limit.amount)]
    return min([machine_bytes, *limits])


def core_limits(root: Path = _ROOT) -> list[Limit]:
    """Return the core limits of all cgroups that this process is in, the innermost first."""
    return [*_read(root, "cpu", "cgroup2", _quota_2), *_read(root, "cpu", "cgroup", _quota_1)]


def memory_limits(root: Path = _ROOT) -> list[Limit]:
    """Return the memory limits of all cgroups that this process is in, the innermost first."""
    return [
        *_read(root, "memory", "cgroup2", _memory_2),
        *_read(root, "memory", "cgroup", _memory_1),
    ]


def own_folder(root: Path = _ROOT) -> Path | None:
    """Return the folder of this process's cgroup of version 2, None where there is none."""
    return next(_folders(root, "", "cgroup2"), None)


def usable_cores() -> int:
    """Return the cores that affinity, and with it cpusets, leaves this process."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read(root: Path, controller: str, kind: str, read: Callable[[Path], Limit]) -> Iterator[Limit]:
    for folder in _folders(root, controller, kind):
        # A cgroup may lack this controller, or not be visible to us.
        with suppress(OSError, ValueError):
            yield read(folder)


def _folders(root: Path, controller: str, kind: str) -> Iterator[Path]:
    """Yield the folder of this process's cgroup and of all visible ones above it."""
    own_path = _own_path(root, controller, kind)
    if own_path is None:
        return
    for mount in _mounts(root):
        if mount.kind != kind or not mount.controls(controller):
            continue
        innermost = mount.folder / _path_below(own_path, mount.top)
        yield innermost
        for above in innermost.parents:
            if above.is_relative_to(mount.folder):
                yield above


def _path_below(path: PurePosixPath, top: PurePosixPath) -> PurePosixPath:
    """Return the cgroup's path below the mounted part of the hierarchy.

    A container that shares the host's namespace sees a path that does not begin with its own mount;
    then it is the mounted cgroup itself.
    """
    if not path.is_relative_to(top):
        return PurePosixPath()
    return PurePosixPath(*(part for part in path.relative_to(top).parts if part != ".."))


def _own_path(root: Path, controller: str, kind: str) -> PurePosixPath | None:
    """Return the path of this process's cgroup; a line is `HIERARCHY:CONTROLLERS:PATH`."""
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            number, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if kind == "cgroup2":
                is_own = number == "0" and not controllers
            else:
                is_own = controller in controllers.split(",")
            if is_own:
                return PurePosixPath(path)
    return None


def _mounts(root: Path) -> Iterator[_Mount]:
    """Yield every mounted cgroup hierarchy.

    A line is `ID PARENT DEVICE TOP FOLDER OPTIONS … - KIND SOURCE CONTROLLERS`.
    """
    with suppress(OSError):
        for line in (root / "proc/self/mountinfo").read_text().splitlines():
            place, _, file_system = line.partition(" - ")
            fields = place.split(" ")
            kind, *rest = file_system.split(" ")
            if kind in ("cgroup", "cgroup2") and len(fields) > 4:
                top = PurePosixPath(fields[3])
                folder = root / fields[4].lstrip("/")
                yield _Mount(top, folder, kind, frozenset(rest[-1].split(",")))


def _quota_2(folder: Path) -> Limit:
    file = folder / "cpu.max"
    text = file.read_text().strip()
    quota, _, period = text.partition(" ")
    if quota == "max":
        return Limit(file, text, inf)
    return Limit(file, text, int(quota) / int(period))


def _quota_1(folder: Path) -> Limit:
    file = folder / "cpu.cfs_quota_us"
    quota_us = int(file.read_text())
    period_us = int((folder / "cpu.cfs_period_us").read_text())
    text = f"{quota_us} of {period_us}"
    if quota_us <= 0:
        return Limit(file, text, inf)
    return Limit(file, text, quota_us / period_us)


def _memory_2(folder: Path) -> Limit:
    file = folder / "memory.max"
    text = file.read_text().strip()
    if text == "max":
        return Limit(file, text, inf)
    return Limit(file, text, int(text))


def _memory_1(folder: Path) -> Limit:
    file = folder / "memory.limit_in_bytes"
    limit_bytes = int(file.read_text())
    if limit_bytes >= _UNLIMITED_BYTES:
        return Limit(file, str(limit_bytes), inf)
    return Limit(file, str(limit_bytes), limit_bytes)
