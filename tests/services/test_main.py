"""`python -m services` as an operator starts it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import httpx2
import pytest

from tests.support.paths import ROOT

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(redis_url: str) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start(**settings: str) -> "subprocess.Popen[str]":
        environment = (
            os.environ
            | {"SLIDELANE_BROKER__REDIS_URL": redis_url, "SLIDELANE_SERVICES__PORT": "0"}
            | settings
        )
        command = [sys.executable, "-m", "services"]
        pipe = subprocess.PIPE
        started.append(
            subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_it_prints_where_it_listens_and_that_it_is_open_to_loopback_only(start: Start) -> None:
    """Whoever reads the line can ask at once, at the port that was free."""
    stdout = start().stdout
    assert stdout
    line = stdout.readline()
    assert line.startswith("Slidelane listens on http://127.0.0.1:")
    assert "loopback only" in line
    assert httpx2.get(line.split()[3] + "/healthz", timeout=20, trust_env=False).json() == {
        "status": "ok"
    }


def test_a_setting_that_cannot_work_ends_it_with_a_message(start: Start) -> None:
    """The key is named, and there is no trace."""
    process = start(SLIDELANE_SERVICES__HOST="0.0.0.0")  # noqa: S104 - to see it refused
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "services.host" in said
    assert "Traceback" not in said


def test_answers_on_a_kept_connection_do_not_wait_for_an_acknowledgement(start: Start) -> None:
    """Headers and body leave at once; held back by Nagle's algorithm, no answer but the first comes
    within 40 ms."""
    stdout = start().stdout
    assert stdout
    with httpx2.Client(base_url=stdout.readline().split()[3], timeout=20, trust_env=False) as http:
        took_s = [http.get("/healthz").elapsed.total_seconds() for _ in range(20)]
    assert min(took_s[1:]) < 0.035
