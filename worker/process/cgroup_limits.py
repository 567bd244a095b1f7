"""What this process is granted of the machine: processor cores and memory.

Owns how the kernel says so: affinity, and the cgroups of either version, this process's own and all above it. `root` is
where the kernel's files lie. Knows no setting.
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
"""What version 1 says for no limit is the largest multiple of a page below 2^63."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What one file of the kernel says, and the cores or bytes that it comes to: `inf` where it sets no limit."""

    file: Path
    text: str
    amount: float


@dataclass(frozen=True, slots=True)
class _Mount:
    """Where a hierarchy of cgroups is seen: the part of it below `top` lies in `folder`."""

    top: PurePosixPath
    folder: Path
    kind: str
    controllers: frozenset[str]


def granted_cores(root: Path = _ROOT) -> int:
    """The smaller of affinity and quota, at least one. `cpu_count` counts the machine, not the grant.

    A part of a core counts as one: left out it would lie idle, and the kernel holds the threads to the quota anyway.
    """
    quotas = (ceil(limit.amount) for limit in core_limits(root) if isfinite(limit.amount))
    return max(1, min([usable_cores(), *quotas]))


def granted_memory_bytes(root: Path = _ROOT) -> int:
    """The smaller of the machine's memory and the limits of the cgroups."""
    limits = (int(limit.amount) for limit in memory_limits(root) if isfinite(limit.amount))
    return min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *limits])


def core_limits(root: Path = _ROOT) -> list[Limit]:
    """What every cgroup that this process is in says of cores, the innermost first."""
    return [*_read(root, "cpu", "cgroup2", _quota_2), *_read(root, "cpu", "cgroup", _quota_1)]


def memory_limits(root: Path = _ROOT) -> list[Limit]:
    """What every cgroup that this process is in says of memory, the innermost first."""
    return [
        *_read(root, "memory", "cgroup2", _memory_2),
        *_read(root, "memory", "cgroup", _memory_1),
    ]


def usable_cores() -> int:
    """What affinity, and with it cpusets, leaves this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _read(root: Path, controller: str, kind: str, read: Callable[[Path], Limit]) -> Iterator[Limit]:
    for folder in _folders(root, controller, kind):
        with suppress(
            OSError, ValueError
        ):  # a cgroup without this controller, or one that is not shown to us
            yield read(folder)


def _folders(root: Path, controller: str, kind: str) -> Iterator[Path]:
    """The folder of this process's cgroup, and of all above it as far as they are seen."""
    own = _own(root, controller, kind)
    for mount in _mounts(root):
        if (
            own is None
            or mount.kind != kind
            or (kind == "cgroup" and controller not in mount.controllers)
        ):
            continue
        # a container that shares the host's names is told a path that its own mount does not begin with
        below = own.relative_to(mount.top) if own.is_relative_to(mount.top) else PurePosixPath()
        inner = mount.folder.joinpath(*(part for part in below.parts if part != ".."))
        yield inner
        yield from (above for above in inner.parents if above.is_relative_to(mount.folder))


def _own(root: Path, controller: str, kind: str) -> PurePosixPath | None:
    """The path of this process's cgroup, as /proc/self/cgroup says it: `HIERARCHY:CONTROLLERS:PATH`."""
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            number, _, rest = line.partition(":")
            names, _, path = rest.partition(":")
            if (
                (number == "0" and not names)
                if kind == "cgroup2"
                else controller in names.split(",")
            ):
                return PurePosixPath(path)
    return None


def _mounts(root: Path) -> Iterator[_Mount]:
    """Every hierarchy that is mounted: `ID PARENT DEVICE TOP FOLDER OPTIONS … - KIND SOURCE CONTROLLERS`."""
    with suppress(OSError):
        for line in (root / "proc/self/mountinfo").read_text().splitlines():
            place, _, what = line.partition(" - ")
            fields, (kind, *rest) = place.split(" "), what.split(" ")
            if kind in ("cgroup", "cgroup2") and len(fields) > 4:
                folder = root / fields[4].lstrip("/")
                yield _Mount(PurePosixPath(fields[3]), folder, kind, frozenset(rest[-1].split(",")))


def _quota_2(folder: Path) -> Limit:
    file = folder / "cpu.max"
    text = file.read_text().strip()
    quota, _, period = text.partition(" ")
    return Limit(file, text, inf if quota == "max" else int(quota) / int(period))


def _quota_1(folder: Path) -> Limit:
    file = folder / "cpu.cfs_quota_us"
    quota, period = (
        int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period")
    )
    return Limit(file, f"{quota} of {period}", inf if quota <= 0 else quota / period)


def _memory_2(folder: Path) -> Limit:
    file = folder / "memory.max"
    text = file.read_text().strip()
    return Limit(file, text, inf if text == "max" else int(text))


def _memory_1(folder: Path) -> Limit:
    file = folder / "memory.limit_in_bytes"
    limit_bytes = int(file.read_text())
    return Limit(file, str(limit_bytes), inf if limit_bytes >= _UNLIMITED_BYTES else limit_bytes)
