"""How many cores this process is really granted."""

import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def granted_cores() -> int:
    """The smaller of affinity and cgroup quota (v2), at least one. `cpu_count` counts the machine, not the grant."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if _QUOTA.exists():
        quota, period = _QUOTA.read_text().split()
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    return cores
