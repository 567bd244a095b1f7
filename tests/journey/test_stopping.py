"""Stopping, cancelling and dying while work is under way: nothing is done twice, nobody waits longer than needed."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import redis

from demo.slide import make_sample_slide
from demo.techcyte import TechcyteReceiver
from tests.support.gate import Gate
from tests.support.stack import Stack, wait_for

# Celery hears that a child has closed its files, which may be before the kernel says that it is dead: then only its
# next look finds out.
CHILDREN_ARE_COUNTED_EVERY_S = 5


@pytest.fixture(scope="module")
def few_tiles(slide: Path) -> Path:
    """A slide of six tiles: the gate holds them as long as a test needs."""
    path = slide.with_name("few-tiles.svs")
    make_sample_slide(path, width_px=3072, height_px=2048)
    return path


@pytest.fixture
def stack(gate: Gate, stack: Stack) -> Stack:
    """The service, whose worker has a gate in all tests of this file."""
    assert stack.gate is gate
    return stack


def a_long_order(stack: Stack, slide: Path, receiver: TechcyteReceiver) -> str:
    """Order a whole slide, and wait until its second tile is held at the gate."""
    stack.gate.close(after=1)
    destination = {
        "type": "techcyte",
        "base_url": receiver.url,
        "task_id": "1",
        "jwt_token": receiver.jwt_token,
    }
    scans = [{"id": "1", "source": {"type": "path", "path": str(slide)}}]
    order_id = stack.order(algorithm="ki67", scans=scans, destination=destination)
    wait_for(
        lambda: scan(stack, order_id)["progress"]["stage"] == "classifying", what="classifying"
    )
    wait_for(stack.gate.held, what="a tile at the gate")
    return order_id


def restart_worker(stack: Stack, **settings: str) -> None:
    """The worker, with settings of its own; one that was stopped before a test is started without."""
    stack.kill("worker", signal.SIGTERM)
    stack.start("worker", **settings)
    stack.wait_ready()


def scan(stack: Stack, order_id: str) -> Any:
    return stack.get(order_id)["scans"][0]


def worker_said(stack: Stack) -> str:
    return (stack.data / "worker.log").read_text()


def hints(stack: Stack) -> redis.Redis:
    """Celery's database."""
    return redis.Redis.from_url((stack.data / "redis" / "url").read_text())


def wait_until_heard(stack: Stack, order_id: str) -> None:
    """Wait until the worker has asked about its scan twice.

    It has taken in the first answer when it asks again.
    """
    with hints(stack) as client, client.monitor() as monitor:
        asked = (seen for seen in monitor.listen() if f" {order_id}.0 " in seen["command"])
        assert next(asked)["command"].startswith("EVALSHA")
        assert next(asked)["command"].startswith("EVALSHA")


def log(stack: Stack, order_id: str) -> str:
    return str(stack.call("GET", f"/v1/orders/{order_id}/log")[1].decode())


def pool_child(stack: Stack) -> int:
    """The process that classifies."""
    parent = stack.processes["worker"].pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return next(
        int(pid) for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()
    )


def test_a_worker_that_is_stopped_hands_its_scan_back(
    stack: Stack, techcyte: TechcyteReceiver, few_tiles: Path
) -> None:
    """After its grace, at once and not after the lease; the claim does not count as an attempt."""
    order_id = a_long_order(stack, few_tiles, techcyte)
    os.kill(stack.processes["worker"].pid, signal.SIGTERM)
    stack.processes["worker"].wait(timeout=60)
    assert "asked to stop" in log(stack, order_id)
    assert scan(stack, order_id)["state"] == "staged"
    stack.gate.open()
    stack.start("worker")
    assert stack.wait_until(order_id, "delivered", "failed")["state"] == "delivered"
    assert len(techcyte.ledger) == 1


def test_a_worker_that_is_stopped_may_finish_within_its_grace(
    stack: Stack, techcyte: TechcyteReceiver, few_tiles: Path
) -> None:
    """Then it leaves by itself."""
    restart_worker(stack, SLIDELANE_WORKER__GRACE_S="120")
    order_id = a_long_order(stack, few_tiles, techcyte)
    os.kill(stack.processes["worker"].pid, signal.SIGTERM)
    wait_for(lambda: "running work has 120 s" in worker_said(stack), what="the signal being heard")
    stack.gate.open()
    stack.processes["worker"].wait(timeout=120)
    assert scan(stack, order_id)["state"] == "classified"
    assert "lost by" not in log(stack, order_id)


def test_a_child_that_dies_is_told_with_its_signal_before_its_lease_ends(
    stack: Stack, techcyte: TechcyteReceiver, few_tiles: Path
) -> None:
    """As the kernel kills for memory: the parent says what it saw, and another child takes the scan."""
    restart_worker(stack, SLIDELANE_BROKER__LEASE_S=str(CHILDREN_ARE_COUNTED_EVERY_S * 6))
    order_id = a_long_order(stack, few_tiles, techcyte)
    os.kill(pool_child(stack), signal.SIGKILL)
    wait_for(lambda: "lost by" in log(stack, order_id), what="the loss in the log")
    assert "signal 9 (SIGKILL)" in log(stack, order_id)
    stack.gate.open()
    assert stack.wait_until(order_id, "delivered", "failed")["state"] == "delivered"


def test_a_cancelled_scan_frees_its_worker(
    stack: Stack, techcyte: TechcyteReceiver, few_tiles: Path
) -> None:
    """The order is cancelled at once, the same child stops between two batches and takes the next order."""
    order_id = a_long_order(stack, few_tiles, techcyte)
    child, said = pool_child(stack), len(worker_said(stack))
    tiles = scan(stack, order_id)["progress"]["total"]
    assert stack.call("POST", f"/v1/orders/{order_id}/cancel")[1]["state"] == "cancelled"
    wait_until_heard(stack, order_id)
    stack.gate.open()
    scans = [{"id": "1", "source": {"type": "path", "path": str(few_tiles)}}]
    stack.wait_until(stack.order(algorithm="grid", scans=scans), "delivered")
    assert pool_child(stack) == child
    assert "stopped: lost" in worker_said(stack)[said:]
    assert stack.gate.passed() < tiles
    assert stack.get(order_id)["state"] == "cancelled"
    assert techcyte.ledger == []


def test_an_urgent_order_overtakes_all_that_wait(
    stack: Stack, few_tiles: Path, techcyte: TechcyteReceiver
) -> None:
    """It is the next one a worker takes."""
    blocking = a_long_order(stack, few_tiles, techcyte)
    scans = [{"id": "1", "source": {"type": "path", "path": str(few_tiles)}}]
    normal = [stack.order(algorithm="grid", scans=scans) for _ in range(4)]
    urgent = stack.order(algorithm="grid", scans=scans, priority="urgent")
    with hints(stack) as client:
        waiting = (urgent, *normal)
        wait_for(lambda: all(scan(stack, order)["state"] == "staged" for order in waiting))
        wait_for(lambda: client.llen("gpu") and client.llen("gpu.urgent"), what="both queues")
    stack.gate.open()
    for order_id in (blocking, urgent, *normal):
        stack.wait_until(order_id, "delivered")
    ends = {order_id: stack.get(order_id)["updated_at"] for order_id in (urgent, *normal)}
    assert min(ends, key=lambda order_id: ends[order_id]) == urgent
