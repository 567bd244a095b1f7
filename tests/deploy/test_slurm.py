"""The batch script as SLURM runs it, by plain bash with SLURM's variables: a real worker, a real end."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest

from demo.slide import make_sample_slide
from tests.support.pages import ROOT
from tests.support.slide_server import File, Origin, drips_until
from tests.support.stack import Stack, wait_for

SCRIPT = ROOT / "deploy" / "slurm" / "worker.sbatch"
PROGRAMS = Path(sys.executable).parent
HANDS_BACK_S = 10


class Cluster(Stack):
    """A service whose workers are jobs. `folder` is what the nodes share."""

    roles: ClassVar[tuple[str, ...]] = ("api", "courier")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "data", [folder])
        self.folder, self.jobs = folder, list[subprocess.Popen[bytes]]()

    def __enter__(self) -> Self:
        super().__enter__()
        url = self.folder / "secrets" / "redis-url"
        url.parent.mkdir()
        url.write_text((self.data / "redis" / "url").read_text())
        url.chmod(0o600)
        wait_for(
            lambda: self.call("GET", "/v1/algorithms/ki67")[0] == 200, what="the courier's cards"
        )
        return self

    def __exit__(self, *_: object) -> None:
        for job in self.jobs:
            if job.poll() is None:
                job.terminate()
                job.wait(timeout=60)
        super().__exit__()

    def job(self, *asked: str, **slurm: str) -> "subprocess.Popen[bytes]":
        """The script with what SLURM would set. The place of data and Redis is not told: it must find them itself."""
        hidden = {"SLIDELANE_BROKER__DATA", "SLIDELANE_SERVICES__PORT"}
        env = {name: value for name, value in self.env.items() if name not in hidden} | {
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
            "FOLDER": str(self.folder),
            "SLURM_JOB_ID": "4711",
            "SLURM_CPUS_PER_TASK": "1",
            "SLIDELANE_WORKER__DEVICE": "cpu",
        }
        with (self.folder / "job.log").open("ab") as log:
            job = subprocess.Popen(
                ["bash", SCRIPT, *asked], cwd=ROOT, env=env | slurm, stdout=log, stderr=log
            )
        self.jobs.append(job)
        return job

    @property
    def said(self) -> str:
        return (self.folder / "job.log").read_text()

    def scan(self, order_id: str) -> Any:
        return self.get(order_id)["scans"][0]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    (tmp_path / "data").mkdir()
    with Cluster(tmp_path) as cluster:
        yield cluster


def in_s(seconds: int) -> str:
    return str(int(time.time()) + seconds)


def slide(cluster: Cluster, width_px: int) -> list[dict[str, Any]]:
    path = cluster.folder / "a.svs"
    make_sample_slide(path, width_px=width_px, height_px=width_px * 2 // 3)
    return [{"id": "1", "source": {"type": "path", "path": str(path)}}]


def test_a_job_takes_orders_and_ends_when_nothing_is_left(cluster: Cluster) -> None:
    """With status 0, and without Redis' password in its output."""
    order_id = cluster.order(algorithm="grid", scans=slide(cluster, 1500))
    job = cluster.job("--until-idle", SLURM_JOB_END_TIME=in_s(3600))
    assert job.wait(timeout=150) == 0, cluster.said
    assert cluster.scan(order_id)["state"] == "classified"
    assert "nothing is left to do" in cluster.said
    (password,) = re.findall(
        r"redis://:(\w+)@", (cluster.folder / "secrets" / "redis-url").read_text()
    )
    assert password not in cluster.said


def test_a_job_leaves_before_its_time_is_over(cluster: Cluster) -> None:
    """By itself and with status 0, before SLURM would have to send a signal."""
    ends_at = time.time() + 90
    job = cluster.job(SLURM_JOB_END_TIME=str(int(ends_at)))
    assert job.wait(timeout=120) == 0, cluster.said
    assert "its time is nearly over" in cluster.said
    assert time.time() < ends_at


def lost_from_the_shelf(cluster: Cluster, origin: Origin) -> str:
    """An order whose slide was fetched and is gone from the shelf.

    Whoever fetches it once more gets bytes without end.
    """
    (asked,) = slide(cluster, 1500)
    origin.answers["/slide.svs"] = File(Path(asked["source"]["path"]).read_bytes())
    source = {"type": "url", "url": origin.url("/slide.svs")}
    order_id = cluster.order(algorithm="ki67", scans=[asked | {"source": source}])
    wait_for(lambda: cluster.scan(order_id)["state"] == "staged", what="the slide")
    origin.answers["/slide.svs"] = drips_until(threading.Event())
    (shelved,) = cluster.data.glob("shelf/??/*/slide*")
    shelved.unlink()
    return order_id


def test_the_signal_of_slurm_hands_the_work_back(cluster: Cluster) -> None:
    """It reaches the batch shell alone, which passes it on and waits; no process is left."""
    squeue = cluster.folder / "squeue"
    squeue.write_text("#!/bin/sh\necho N/A\n")  # as for a job without a limit of time
    squeue.chmod(0o755)
    with Origin() as origin:
        order_id = lost_from_the_shelf(cluster, origin)
        job = cluster.job(PATH=f"{cluster.folder}:{PROGRAMS}:{os.environ['PATH']}")
        wait_for(lambda: cluster.scan(order_id)["state"] == "classifying", what="classifying")
        wait_for(lambda: cluster.scan(order_id)["progress"].get("done"), what="some of the slide")
        (worker,) = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
        job.send_signal(signal.SIGTERM)
        assert job.wait(timeout=90) == 0, cluster.said
        assert cluster.scan(order_id)["state"] == "staged"
        assert not Path(f"/proc/{worker}").exists()
        assert "endless" in cluster.said


REFUSED = {
    "no job": ({"SLURM_JOB_ID": ""}, "type: sbatch"),
    "no time": ({"SLURM_JOB_END_TIME": "1"}, "longer --time"),
    "no secret": ({"FOLDER": "/nowhere"}, "/nowhere/secrets/redis-url is not there"),
    "no squeue": ({}, "squeue does not say when the job ends"),
    "no secret key": (
        {"SLIDELANE_BROKER__SECRET_KEY_FILE": "/nowhere/key"},
        "/nowhere/key is not there",
    ),
}


def refusal(folder: Path, **slurm: str) -> str:
    """What the script says when it does not start."""
    env = {
        "PATH": f"{PROGRAMS}:/usr/bin:/bin",
        "FOLDER": str(folder),
        "SLURM_JOB_ID": "4711",
    } | slurm
    tried = subprocess.run(
        ["bash", SCRIPT], env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert tried.returncode == 64, tried.stderr
    return tried.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    url = tmp_path / "secrets" / "redis-url"
    url.parent.mkdir()
    url.write_text("redis://:p@127.0.0.1:1/0")
    url.chmod(0o600)
    return tmp_path


@pytest.mark.parametrize("why", REFUSED)
def test_a_job_that_cannot_work_says_why(folder: Path, why: str) -> None:
    """At once, with what to type."""
    slurm, told = REFUSED[why]
    assert told in refusal(folder, **slurm)


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_secret_that_others_may_read_is_refused(folder: Path, mode: int) -> None:
    """On a file system that a whole cluster mounts."""
    (folder / "secrets" / "redis-url").chmod(mode)
    assert "chmod 600" in refusal(folder, SLURM_JOB_END_TIME=in_s(3600))


def test_the_script_is_sound_and_asks_for_the_signal_in_time() -> None:
    """ShellCheck finds nothing; SLURM signals the batch shell earlier than the worker needs to leave."""
    text = SCRIPT.read_text()
    subprocess.run([PROGRAMS / "shellcheck", SCRIPT], check=True)
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", text, re.MULTILINE))
    (grace_s,) = re.findall(r"GRACE_S:-(\d+)", text)
    told, signal_s = asked["signal"].split("@")
    assert told == "B:TERM"
    assert int(signal_s) >= int(grace_s) + HANDS_BACK_S
    assert asked["gres"] == "gpu:1"
