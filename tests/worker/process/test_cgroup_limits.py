"""What a container grants is read from the kernel's files; here from copies below a root."""

import os
import subprocess
import sys
from math import inf
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from worker.process.cgroup_limits import (
    core_limits,
    granted_cores,
    granted_memory_bytes,
    memory_limits,
)

USABLE = len(os.sched_getaffinity(0))
PHYSICAL_BYTES = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
V1 = (
    "32 31 0:29 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
)


def kernel_files(root: Path, own: str, mounts: str, **files: str) -> Path:
    """Write /proc/self, and `files` below /sys/fs/cgroup; return the root."""
    texts = {
        "proc/self/cgroup": own,
        "proc/self/mountinfo": "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + mounts,
    }
    texts |= {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def v2(root: Path, own: str = "/", **files: str) -> Path:
    return kernel_files(root, f"0::{own}\n", V2, **files)


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000", USABLE),
        ("50000 100000", 1),
        ("100000 100000", 1),
        ("1000 100000", 1),
        ("999900000 100000", USABLE),
    ],
)
def test_the_quota_of_version_2_bounds_the_cores(tmp_path: Path, quota: str, cores: int) -> None:
    """`QUOTA PERIOD`, or `max`; at least one core, at most what affinity leaves."""
    assert granted_cores(v2(tmp_path, **{"cpu.max": quota + "\n"})) == cores


@pytest.mark.skipif(USABLE < 2, reason="with one core every quota comes to one")
def test_a_part_of_a_core_counts_as_one(tmp_path: Path) -> None:
    """With 1.5 cores two threads are needed to use them."""
    root = v2(tmp_path, **{"cpu.max": "150000 100000\n"})
    assert [limit.amount for limit in core_limits(root)] == [1.5]
    assert granted_cores(root) == 2


def test_the_tightest_cgroup_on_the_way_up_rules(tmp_path: Path) -> None:
    """A pod's limit stands above its containers', and a batch job's above its steps'."""
    root = v2(
        tmp_path,
        "/job/step",
        **{
            "job/step/cpu.max": "max 100000",
            "job/cpu.max": "20000 100000",
            "job/step/memory.max": "900000000",
            "job/memory.max": "500000000",
        },
    )
    assert granted_cores(root) == 1
    assert granted_memory_bytes(root) == 500_000_000
    limits = {
        str(limit.file.relative_to(root)): (limit.text, limit.amount) for limit in core_limits(root)
    }
    assert limits == {
        "sys/fs/cgroup/job/step/cpu.max": ("max 100000", inf),
        "sys/fs/cgroup/job/cpu.max": ("20000 100000", 0.2),
    }


def test_version_1_is_read_where_its_controllers_are_mounted(tmp_path: Path) -> None:
    """As in a container that gets the host's name of its cgroup and sees only what is below."""
    root = kernel_files(
        tmp_path,
        "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc/inner\n0::/\n",
        V1,
        **{
            "cpu,cpuacct/inner/cpu.cfs_quota_us": "50000",
            "cpu,cpuacct/inner/cpu.cfs_period_us": "100000",
            "cpu,cpuacct/cpu.cfs_quota_us": "-1",
            "cpu,cpuacct/cpu.cfs_period_us": "100000",
            "memory/memory.limit_in_bytes": "300000000",
        },
    )
    assert [limit.text for limit in core_limits(root)] == ["50000 of 100000", "-1 of 100000"]
    assert granted_cores(root) == 1
    assert granted_memory_bytes(root) == 300_000_000


def test_a_path_outside_of_what_is_mounted_means_the_mounted_cgroup(tmp_path: Path) -> None:
    """A container with a cgroup namespace gets `/`, one without it a path it cannot see."""
    root = kernel_files(
        tmp_path, "4:memory:/kubepods/x\n", V1, **{"memory/memory.limit_in_bytes": "200000000"}
    )
    assert granted_memory_bytes(root) == 200_000_000
    outside = v2(tmp_path / "2", "/../../system.slice", **{"memory.max": "100000000"})
    assert granted_memory_bytes(outside) == 100_000_000


@pytest.mark.parametrize(
    "files",
    [{}, {"memory.max": "max", "cpu.max": "max 100000"}, {"cpu.max": "?", "memory.max": ""}],
)
def test_without_a_limit_it_is_the_machine(tmp_path: Path, files: dict[str, str]) -> None:
    """Nothing stated, no limit stated, or a text that cannot be read."""
    root = v2(tmp_path, **files)
    assert (granted_cores(root), granted_memory_bytes(root)) == (USABLE, PHYSICAL_BYTES)
    assert all(limit.amount == inf for limit in [*core_limits(root), *memory_limits(root)])


def test_the_largest_number_of_version_1_is_no_limit(tmp_path: Path) -> None:
    """Version 1 has no other way to state it."""
    root = kernel_files(
        tmp_path,
        "4:memory:/docker/abc\n",
        V1,
        **{"memory/memory.limit_in_bytes": "9223372036854771712"},
    )
    assert [limit.amount for limit in memory_limits(root)] == [inf]
    assert granted_memory_bytes(root) == PHYSICAL_BYTES


def test_without_the_kernels_files_it_is_the_machine(tmp_path: Path) -> None:
    """As on systems that have no /proc."""
    assert (granted_cores(tmp_path), granted_memory_bytes(tmp_path)) == (USABLE, PHYSICAL_BYTES)


@pytest.mark.skipif(USABLE < 2, reason="there is no core to take away")
def test_cores_that_affinity_takes_away_are_not_granted() -> None:
    """`taskset`, a batch system or a cpuset leave a process fewer than the machine has."""
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from worker.process.cgroup_limits import granted_cores; print(granted_cores())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


@pytest.mark.parametrize(("given", "threads"), [("7", 7), ("", USABLE)])
def test_the_setting_overrides_what_is_granted(tmp_path: Path, given: str, threads: int) -> None:
    """`worker.threads` sets the number of threads that read a slide."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("SLIDELANE_")
    }
    environment |= {
        "SLIDELANE_BROKER__REDIS_URL": "redis://127.0.0.1:1/0",
        "SLIDELANE_BROKER__DATA": str(tmp_path),
    }
    environment |= {"SLIDELANE_WORKER__THREADS": given} if given else {}
    code = """
import numpy as np
from pathlib import Path
from PIL import Image
from worker.context import worker_context
Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save("dark.png")
with worker_context().sandbox.open(Path("dark.png"), 0.5) as slide:
    print(slide.threads)
"""
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(threads)]
