"""Workers and couriers that are told to stop while Redis is away leave soon after their grace."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.processes import child_of_pool
from tests.support.slide_server import SlideServer, drips_until
from tests.support.stack import Stack, free_port, wait_for

GRACE_S = 1
"""`Stack` sets it."""
SHUTDOWN_S = 6 + 6
"""What a worker takes after its grace, and as much again on a busy machine."""
ROLES = ("worker", "courier")


def take_redis_away(service: Stack, how: str) -> None:
    """Kill or freeze Redis; return once the courier has noticed."""
    redis = service.redis.process
    assert redis
    if how == "killed":
        redis.kill()
        redis.wait()
    else:
        os.kill(redis.pid, signal.SIGSTOP)
    wait_for(
        lambda: "while Redis is away" in (service.data / "courier.log").read_text(),
        what="the courier's line",
    )


@pytest.fixture
def away(service: Stack) -> Iterator[Stack]:
    """The service, whose Redis may be frozen by the test and is killed after it."""
    yield service
    assert service.redis.process
    service.redis.process.kill()


def leave(service: Stack, within_s: float) -> None:
    """Assert that worker and courier end with status 0 by SIGTERM within this time."""
    told_at = time.monotonic()
    for role in ROLES:
        service.processes[role].terminate()
    for role in ROLES:
        left_s = told_at + within_s - time.monotonic()
        assert service.processes[role].wait(timeout=max(0.0, left_s)) == 0


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_idle_workers_leave_without_waiting_for_their_grace(away: Stack, how: str) -> None:
    """Nothing runs that the grace could be for."""
    for role in ROLES:
        away.kill(role, signal.SIGTERM)
        away.start(role, SLIDELANE_WORKER__GRACE_S="3600")
    away.wait_ready()
    take_redis_away(away, how)
    leave(away, within_s=SHUTDOWN_S)


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_busy_workers_leave_after_their_grace(away: Stack, slide: Path, how: str) -> None:
    """What they held is claimed again when its lease has ended."""
    opened = threading.Event()
    away.gate.close()
    with SlideServer() as origin:
        origin.answers["/slide.svs"] = drips_until(opened)
        url = f"http://127.0.0.1:{origin.server_port}/slide.svs"
        classified = {"id": "1", "source": {"type": "path", "path": str(slide)}}
        fetched = {"id": "1", "source": {"type": "url", "url": url}}
        away.order(algorithm="ki67", scans=[classified])
        order_id = away.order(algorithm="grid", scans=[fetched])
        wait_for(away.gate.held, what="a tile at the gate")
        wait_for(lambda: away.get(order_id)["scans"][0]["state"] == "fetching", what="fetching")
        child = child_of_pool(away.processes["worker"].pid)
        take_redis_away(away, how)
        leave(away, within_s=GRACE_S + SHUTDOWN_S)
        opened.set()
    wait_for(lambda: not Path(f"/proc/{child}").exists(), what="the end of the child")


@pytest.mark.parametrize("options", [["--for", "1h"], ["--until-idle"], []])
@pytest.mark.parametrize("role", ["gpu", "courier"])
def test_workers_leave_that_never_saw_a_redis(
    tmp_path: Path, role: str, options: list[str]
) -> None:
    """They wait for it from their start on."""
    log = tmp_path / "log"
    env = {name: value for name, value in os.environ.items() if not name.startswith("SLIDELANE_")}
    env |= {
        "SLIDELANE_BROKER__DATA": str(tmp_path),
        "SLIDELANE_BROKER__REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
        "SLIDELANE_WORKER__GRACE_S": str(GRACE_S),
    }
    command = [sys.executable, "-m", "slidelane.cli", "worker", role, *options]
    with log.open("ab") as out:
        worker = subprocess.Popen(command, cwd=ROOT, env=env, stdout=out, stderr=out)
    try:
        wait_for(lambda: "Cannot connect to" in log.read_text(), what="an attempt to connect")
        worker.terminate()
        assert worker.wait(timeout=GRACE_S + SHUTDOWN_S) == 0, log.read_text()
    finally:
        worker.kill()
        worker.wait()
