"""The batch script, run by bash with the variables that SLURM sets, and a real worker."""

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
from tests.support.slide_server import File, SlideServer, drips_until
from tests.support.stack import Stack, wait_for

SCRIPT = ROOT / "deploy" / "slurm" / "worker.sbatch"
PROGRAMS = Path(sys.executable).parent
HAND_BACK_S = 10


class Cluster(Stack):
    """A service whose workers are SLURM jobs. `folder`: the file system that all nodes share."""

    roles: ClassVar[tuple[str, ...]] = ("api", "courier")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "data", [folder])
        self.folder = folder
        self.jobs: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        super().__enter__()
        url = self.folder / "secrets" / "redis-url"
        url.parent.mkdir()
        url.write_text((self.data / "redis" / "url").read_text())
        url.chmod(0o600)
        wait_for(
            lambda: self.call("GET", "/v1/algorithms/ki67")[0] == 200,
            what="the courier's algorithm cards",
        )
        return self

    def __exit__(self, *_: object) -> None:
        for job in self.jobs:
            if job.poll() is None:
                job.terminate()
                job.wait(timeout=60)
        super().__exit__()

    def job(self, *arguments: str, **slurm: str) -> "subprocess.Popen[bytes]":
        """Start the script with the variables that SLURM sets.

        The data folder and Redis are not in its environment: it must find them in `folder`.
        """
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
                ["bash", SCRIPT, *arguments], cwd=ROOT, env=env | slurm, stdout=log, stderr=log
            )
        self.jobs.append(job)
        return job

    @property
    def log_text(self) -> str:
        """Return the output of all jobs."""
        return (self.folder / "job.log").read_text()

    def scan(self, order_id: str) -> Any:
        return self.get(order_id)["scans"][0]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "data").mkdir()
    with Cluster(folder) as cluster:
        yield cluster


def unix_time_in(seconds: int) -> str:
    """Return the Unix time in so many seconds, as SLURM writes it."""
    return str(int(time.time()) + seconds)


def sample_scan(cluster: Cluster, width_px: int) -> list[dict[str, Any]]:
    """Write a sample slide and return the scans of an order for it."""
    path = cluster.folder / "a.svs"
    make_sample_slide(path, width_px=width_px, height_px=width_px * 2 // 3)
    return [{"id": "1", "source": {"type": "path", "path": str(path)}}]


def test_a_job_takes_orders_and_ends_when_nothing_is_left(cluster: Cluster) -> None:
    """It ends with status 0, and its output does not contain the password of Redis."""
    order_id = cluster.order(algorithm="grid", scans=sample_scan(cluster, 1500))
    job = cluster.job("--until-idle", SLURM_JOB_END_TIME=unix_time_in(3600))
    assert job.wait(timeout=150) == 0, cluster.log_text
    assert cluster.scan(order_id)["state"] == "classified"
    assert "nothing is left to do" in cluster.log_text
    (password,) = re.findall(
        r"redis://:(\w+)@", (cluster.folder / "secrets" / "redis-url").read_text()
    )
    assert password not in cluster.log_text


def test_a_job_leaves_before_its_time_is_over(cluster: Cluster) -> None:
    """It ends by itself and with status 0, before SLURM would send a signal."""
    ends_at = time.time() + 75
    job = cluster.job(SLURM_JOB_END_TIME=str(int(ends_at)))
    assert job.wait(timeout=120) == 0, cluster.log_text
    assert "its time is nearly over" in cluster.log_text
    assert time.time() < ends_at


def evicted_slide(cluster: Cluster, origin: SlideServer) -> str:
    """Return an order whose slide was fetched and then removed from the cache.

    A worker that fetches it again gets a response that does not end.
    """
    (request,) = sample_scan(cluster, 1500)
    origin.answers["/slide.svs"] = File(Path(request["source"]["path"]).read_bytes())
    source = {"type": "url", "url": origin.url("/slide.svs")}
    order_id = cluster.order(algorithm="ki67", scans=[request | {"source": source}])
    wait_for(lambda: cluster.scan(order_id)["state"] == "staged", what="the slide")
    origin.answers["/slide.svs"] = drips_until(threading.Event())
    (cached,) = cluster.data.glob("shelf/??/*/slide*")
    cached.unlink()
    return order_id


def test_the_signal_of_slurm_hands_the_work_back(cluster: Cluster) -> None:
    """Only the batch shell gets it; it passes it on and waits until no process is left."""
    squeue = cluster.folder / "squeue"
    squeue.write_text("#!/bin/sh\necho N/A\n")  # the answer for a job without a time limit
    squeue.chmod(0o755)
    with SlideServer() as origin:
        order_id = evicted_slide(cluster, origin)
        job = cluster.job(PATH=f"{cluster.folder}:{PROGRAMS}:{os.environ['PATH']}")
        wait_for(lambda: cluster.scan(order_id)["state"] == "classifying", what="classifying")
        wait_for(lambda: cluster.scan(order_id)["progress"].get("done"), what="some of the slide")
        (worker,) = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
        job.send_signal(signal.SIGTERM)
        assert job.wait(timeout=90) == 0, cluster.log_text
        assert cluster.scan(order_id)["state"] == "staged"
        assert not Path(f"/proc/{worker}").exists()
        assert "endless" in cluster.log_text


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
    """Return the error of the script, which must end with status 64."""
    env = {
        "PATH": f"{PROGRAMS}:/usr/bin:/bin",
        "FOLDER": str(folder),
        "SLURM_JOB_ID": "4711",
    } | slurm
    finished = subprocess.run(
        ["bash", SCRIPT], env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert finished.returncode == 64, finished.stderr
    return finished.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    url = tmp_path / "secrets" / "redis-url"
    url.parent.mkdir()
    url.write_text("redis://:p@127.0.0.1:1/0")
    url.chmod(0o600)
    return tmp_path


@pytest.mark.parametrize("why", REFUSED)
def test_a_job_that_cannot_work_says_why(folder: Path, why: str) -> None:
    """It ends at once and says what to change."""
    slurm, message = REFUSED[why]
    assert message in refusal(folder, **slurm)


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_secret_that_others_may_read_is_refused(folder: Path, mode: int) -> None:
    """All users of a cluster may mount the file system, so only the owner may read the file."""
    (folder / "secrets" / "redis-url").chmod(mode)
    assert "chmod 600" in refusal(folder, SLURM_JOB_END_TIME=unix_time_in(3600))


def test_the_script_is_sound_and_asks_for_the_signal_in_time() -> None:
    """ShellCheck finds nothing, and SLURM's signal leaves the worker enough time to stop."""
    text = SCRIPT.read_text()
    subprocess.run([PROGRAMS / "shellcheck", SCRIPT], check=True)
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", text, re.MULTILINE))
    (grace_s,) = re.findall(r"GRACE_S:-(\d+)", text)
    signal_name, signal_s = options["signal"].split("@")
    assert signal_name == "B:TERM"
    assert int(signal_s) >= int(grace_s) + HAND_BACK_S
    assert options["gres"] == "gpu:1"
