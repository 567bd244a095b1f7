"""`slidelane serve` whose log cannot be written, and which is stopped with all its processes."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from demo.stack import Stack as Serve
from tests.support.paths import ROOT
from tests.support.processes import command, family
from tests.support.slide_server import SlideServer, drips_until
from tests.support.stack import Stack, free_port, wait_for

STOPS = 2
"""One more than the lost workers after which a scan fails."""
ATTEMPTS = {"SLIDELANE_BROKER__ATTEMPTS": "1"}


@pytest.fixture
def gone_reader() -> Iterator[int]:
    """The end of a pipe that nobody reads from, as after `slidelane serve | head`."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.fixture
def full_disk() -> Iterator[int]:
    """A file on which every write fails for lack of space."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def client(tmp_path: Path, slide: Path) -> Stack:
    """The settings and the client of a service that a test starts itself."""
    stack = Stack(tmp_path, [slide.parent])
    stack.env |= {"FLOWER_PORT": str(free_port()), "SLIDELANE_BROKER__LEASE_S": "30"}
    return stack


def running(serve: int, module: str) -> int:
    """Return the process of a module below the supervisor, 0 where there is none."""
    for pid in family(serve):
        if f"-m {module}" in command(pid):
            return pid
    return 0


@pytest.mark.parametrize("output", ["full_disk", "gone_reader"])
def test_a_log_that_cannot_be_written_stops_nobody(
    client: Stack, slide: Path, output: str, request: pytest.FixtureRequest
) -> None:
    """What ends is started again, orders are delivered, and the service ends with status 0."""
    out: int = request.getfixturevalue(output)
    serve = subprocess.Popen(
        [sys.executable, "-m", "slidelane.cli", "serve"],
        cwd=ROOT,
        env=client.env,
        stdout=out,
        stderr=out,
    )
    try:
        client.wait_ready()
        for module in ("worker gpu", "worker courier", "services", "slidelane.flower"):
            os.kill(wait_for(lambda module=module: running(serve.pid, module)), signal.SIGKILL)
        wait_for(lambda: client.call("GET", "/healthz")[0] == 200, what="the API")
        client.wait_ready()
        scan = {"id": "1", "source": {"type": "path", "path": str(slide)}}
        client.wait_until(client.order(algorithm="grid", scans=[scan]), "delivered")
        wait_for(lambda: flower_answers(client), what="Flower")
        serve.terminate()
        assert serve.wait(timeout=60) == 0
    finally:
        serve.kill()
        serve.wait()


def flower_answers(client: Stack) -> bool:
    try:
        url = f"http://127.0.0.1:{client.env['FLOWER_PORT']}/healthcheck"
        return requests.get(url, timeout=10).ok
    except requests.ConnectionError:
        return False


@pytest.mark.timeout(300)
def test_work_is_given_back_when_redis_is_stopped_with_everything_else(tmp_path: Path) -> None:
    """systemd stops our own Redis, too; it is there again until the work is given back."""
    opened = threading.Event()
    order = ""
    with SlideServer() as origin:
        origin.answers["/slide.svs"] = drips_until(opened)
        for _ in range(STOPS):
            with Serve(tmp_path, (), ATTEMPTS) as serve:
                serve.wait_ready()
                order = order or place(serve, origin.server_port)
                wait_for(partial(is_in_state, serve, order, "fetching"), what="fetching")
                for pid in serve.processes():
                    os.kill(pid, signal.SIGTERM)
                wait_for(partial(has_ended, serve), what="the end of all")
        opened.set()
        with Serve(tmp_path, (), ATTEMPTS) as serve:
            serve.wait_ready()
            wait_for(partial(is_in_state, serve, order, "failed"), what="the end of the scan")
            log = requests.get(f"{serve.url}{order}/log", timeout=10).text
            assert scan(serve, order)["error"]["code"] == "input_not_found"
            assert "lost by" not in log


def place(serve: Serve, port: int) -> str:
    """Order a slide whose download does not end; return the path of the order."""
    source = {"type": "url", "url": f"http://127.0.0.1:{port}/slide.svs"}
    body = {"algorithm": "grid", "scans": [{"id": "1", "source": source}]}
    answer = requests.post(f"{serve.url}/v1/orders", json=body, timeout=10)
    assert answer.status_code == 202, answer.text
    return answer.headers["Location"]


def is_in_state(serve: Serve, order: str, state: str) -> bool:
    return bool(scan(serve, order)["state"] == state)


def has_ended(serve: Serve) -> bool:
    return not serve.processes()


def scan(serve: Serve, order: str) -> Any:
    return requests.get(f"{serve.url}{order}", timeout=10).json()["scans"][0]
