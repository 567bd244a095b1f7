"""What a machine grants is found out by trying, and each refusal has its reason."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from worker.programs.isolation.cgroup import Cgroup, delegated_folder
from worker.programs.isolation.grants import Offer, offered
from worker.programs.isolation.request import Request

OFFERED = """
import json
from dataclasses import asdict
from worker.programs.isolation.grants import offered
print(json.dumps(asdict(offered())))
"""


def offered_without(kinds: str, tmp_path: Path) -> Offer:
    """Return what an ordinary user is offered where these kinds of namespaces are refused."""
    if not offered().own_network:
        pytest.skip("no namespaces are granted, so none can be refused")
    (tmp_path / "say_offer.py").write_text(OFFERED)
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.refused_namespaces", kinds, "say_offer"],
        env={"PYTHONPATH": f"{ROOT}:{tmp_path}", "PATH": "/usr/bin:/bin"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return Offer(**json.loads(done.stdout))


def test_an_ordinary_user_gets_all_namespaces(tmp_path: Path) -> None:
    """By a user namespace, as nearly all distributions allow."""
    assert offered_without("", tmp_path).own_network


@pytest.mark.parametrize(
    ("kinds", "has_files", "reason"),
    [
        pytest.param("net", True, "network namespace: No space left on device", id="network"),
        pytest.param("mnt", False, "mount namespace: No space left on device", id="files"),
        pytest.param("pid", False, "namespace: No space left on device", id="processes"),
        pytest.param("user", False, "user namespace: No space left on device", id="user"),
    ],
)
def test_a_refusal_is_named(tmp_path: Path, kinds: str, has_files: bool, reason: str) -> None:
    """Where only the network is refused, the rest is granted all the same."""
    offer = offered_without(kinds, tmp_path)
    assert (offer.namespaces, offer.own_network) == (has_files, False)
    assert reason in offer.network_reason
    lost = {grant.name: grant.lost for grant in offer.grants if not grant.is_granted}
    assert reason in lost["network"]
    assert ("files" in lost) == (not has_files)


def request_of(folder: Path) -> Request:
    return Request(
        argv=("true",),
        environment={},
        folder="/",
        scratch=str(folder),
        output=str(folder / "output.log"),
        max_output_bytes=100,
        time_limit_s=1,
        cpus=1.5,
        memory_bytes=2**30,
        cgroup=str(folder),
    )


def test_a_cgroup_has_the_limits_of_its_run(tmp_path: Path) -> None:
    """Half a processor more than one, no swap, and all of it ends when memory is short."""
    groups = tmp_path / "groups"
    groups.mkdir()
    with Cgroup.created(request_of(groups)) as cgroup:
        (folder,) = groups.iterdir()
        cgroup.enter()
        assert (folder / "cgroup.procs").read_text() == "0"
        written = {file.name: file.read_text() for file in folder.iterdir()}
        assert written["memory.max"] == "1073741824"
        assert (written["memory.swap.max"], written["memory.oom.group"]) == ("0", "1")
        assert written["cpu.max"] == "150000 100000"
        assert not cgroup.was_out_of_memory()
        (folder / "memory.events").write_text("low 0\noom 1\noom_kill 1\n")
        assert cgroup.was_out_of_memory()
        cgroup.kill()
        assert (folder / "cgroup.kill").read_text() == "1"
        for file in folder.iterdir():
            file.unlink()  # as the kernel does with the group
    assert list(groups.iterdir()) == []


@pytest.mark.parametrize("controllers", ["cpu memory pids", "cpu"])
def test_a_group_is_only_used_where_it_can_limit_memory(tmp_path: Path, controllers: str) -> None:
    """It is the group above the worker's own, as with `DelegateSubgroup` of systemd."""
    own = tmp_path / "sys/fs/cgroup/unit/worker"
    own.mkdir(parents=True)
    (own / "cgroup.subtree_control").write_text("")
    (own.parent / "cgroup.subtree_control").write_text(controllers)
    proc = tmp_path / "proc/self"
    proc.mkdir(parents=True)
    (proc / "cgroup").write_text("0::/unit/worker\n")
    (proc / "mountinfo").write_text("1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    expected = own.parent if "memory" in controllers else None
    assert delegated_folder(tmp_path) == expected
