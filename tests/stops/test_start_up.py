"""A worker that is told to stop while it still starts."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from tests.support.processes import command, family, signal_family
from tests.support.stack import Stack, wait_for

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def catches_stops(pid: int) -> bool:
    """Return whether the process handles SIGTERM by now; it still imports its libraries then."""
    status = Path(f"/proc/{pid}/status").read_text()
    (caught,) = [line for line in status.splitlines() if line.startswith("SigCgt:")]
    return bool(int(caught.split()[1], 16) & 1 << signal.SIGTERM - 1)


def has_child(pid: int) -> bool:
    """Return whether the worker has begun to start its child."""
    return any("spawn_main" in command(child) for child in family(pid))


class RedisAlone(Stack):
    """A Redis; each process is the test's to start."""

    roles: ClassVar[tuple[str, ...]] = ()


@pytest.fixture
def redis_alone(tmp_path: Path) -> Iterator[Stack]:
    with RedisAlone(tmp_path, [tmp_path]) as stack:
        yield stack


@pytest.mark.parametrize(
    ("role", "has_begun"),
    [("worker", catches_stops), ("worker", has_child), ("courier", catches_stops)],
)
def test_a_worker_that_starts_ends_with_status_0(
    redis_alone: Stack, role: str, has_begun: Callable[[int], bool]
) -> None:
    """There is no work yet, so nothing is lost; no process is left."""
    for number in STOPS:
        redis_alone.start(role)
        process = redis_alone.processes[role]
        wait_for(lambda: has_begun(redis_alone.processes[role].pid), what="the start")
        signal_family(process.pid, number)
        assert process.wait(timeout=60) == 0
    assert "uncaught" not in (redis_alone.data / f"{role}.log").read_text()


def test_a_signal_that_the_starter_ignores_stops_nobody(service: Stack) -> None:
    """As `nohup` starts a worker: the end of its terminal is none of its business."""
    service.kill("courier", signal.SIGTERM)
    handled_before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        service.start("courier")
    finally:
        signal.signal(signal.SIGHUP, handled_before)
    service.wait_ready()
    courier = service.processes["courier"]
    signal_family(courier.pid, signal.SIGHUP)
    signal_family(courier.pid, signal.SIGTERM)
    assert courier.wait(timeout=60) == 0
    log = (service.data / "courier.log").read_text()
    assert log.count("asked to stop") == 2  # by the first and the last SIGTERM of this test
