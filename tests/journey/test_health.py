"""`slidelane health`: what a container is asked, on processes that live, hang and die."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stack import ROOT, Stack, wait_for


class Alone(Stack):
    """One service whose processes are at this file's mercy."""

    def health(self, role: str, **settings: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "slidelane.cli", "health", role]
        told = subprocess.run(
            command,
            cwd=ROOT,
            env=self.env | settings,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return told.returncode, told.stdout + told.stderr

    def is_well(self, role: str) -> bool:
        return self.health(role)[0] == 0


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    with Alone(tmp_path_factory.mktemp("data"), []) as stack:
        stack.wait_ready()
        yield stack


@pytest.mark.parametrize(
    ("role", "said"),
    [("api", "answers 200"), ("courier", "consumes deliver"), ("worker", "consumes gpu")],
)
def test_who_does_his_work_is_healthy(alone: Alone, role: str, said: str) -> None:
    """Status 0, and one sentence that says how it was seen."""
    wait_for(lambda: alone.is_well(role), what=role)
    status, told = alone.health(role)
    assert status == 0
    assert said in told
    assert len(told.splitlines()) == 1


def test_a_worker_that_lives_and_consumes_nothing_is_not_healthy(alone: Alone) -> None:
    """A frozen process is there for the system, and of no use to anybody; thawed, it is well
    again."""
    worker = alone.processes["worker"].pid
    os.killpg(worker, signal.SIGSTOP)
    try:
        wait_for(lambda: not alone.is_well("worker"), what="unhealthy")
        status, told = alone.health("worker")
        assert (status, len(told.splitlines())) == (1, 1)
        assert "no gpu of" in told
        assert alone.is_well("courier"), "one role says nothing of another"
    finally:
        os.killpg(worker, signal.SIGCONT)
    wait_for(lambda: alone.is_well("worker"), what="healthy again")


def test_a_worker_elsewhere_does_not_make_this_machine_healthy(alone: Alone) -> None:
    """The name that a worker goes by holds its machine: replicas share one Redis, and each is asked
    for itself."""
    code = (
        "import sys; from broker.settings.config import load; from broker.order_store import OrderStore;"
        "OrderStore.connect(load().broker).present('gpu-1@elsewhere', ['gpu'])"
    )
    alone.kill("worker", signal.SIGTERM)
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=alone.env, check=True)
    assert not alone.is_well("worker")
    alone.start("worker")
    wait_for(lambda: alone.is_well("worker"), what="healthy again")


def test_nobody_to_ask_is_not_healthy(alone: Alone, tmp_path: Path) -> None:
    """No Redis, no API, no Flower, no viewer: a sentence and status 1, never a trace and never a token."""
    nowhere = {
        "SLIDELANE_BROKER__REDIS_URL": "redis://:hush@127.0.0.1:1/0",
        "SLIDELANE_SERVICES__PORT": "1",
    }
    for role in ("api", "courier", "worker", "flower", "viewer"):
        status, told = alone.health(role, FLOWER_PORT="1", **nowhere)
        assert (status, len(told.splitlines())) == (1, 1), told
        assert "hush" not in told
