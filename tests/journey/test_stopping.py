"""Workers that stop, die or lose a cancelled scan: no work is done twice, and waits are short."""

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

# Celery notices a dead child when the child's files close. The kernel may report the death later;
# then Celery finds out at its next check.
CHILD_CHECK_INTERVAL_S = 5


@pytest.fixture(scope="module")
def few_tiles(slide: Path) -> Path:
    """Return a slide of six tiles, which the gate can stop for as long as a test needs."""
    path = slide.with_name("few-tiles.svs")
    make_sample_slide(path, width_px=768, height_px=512)
    return path


@pytest.fixture
def stack(gate: Gate, stack: Stack) -> Stack:
    """Return the service whose worker passes the gate, in all tests of this module."""
    assert stack.gate is gate
    return stack


def a_long_order(stack: Stack, slide: Path, receiver: TechcyteReceiver) -> str:
    """Order a whole slide, and wait until its second tile waits at the gate."""
    stack.gate.close(after=1)
    destination = {
        "type": "techcyte",
        "base_url": receiver.url,
        "task_id": "1",
        "jwt_token": receiver.jwt_token,
    }
    scans = [{"id": "1", "source": {"type": "path", "path": str(slide)}}]
    order_id = stack.order(algorithm="ki67", scans=scans, destination=destination)
    wait_for(stack.gate.held, what="a tile at the gate")
    wait_for(lambda: scan(stack, order_id)["progress"]["total"] > 0, what="the number of tiles")
    return order_id


def restart_worker(stack: Stack, **settings: str) -> None:
    """Restart the worker with additional settings. They end with the next restart."""
    stack.kill("worker", signal.SIGTERM)
    stack.start("worker", **settings)
    stack.wait_ready()


def scan(stack: Stack, order_id: str) -> Any:
    """Return the first scan of the order."""
    return stack.get(order_id)["scans"][0]


def worker_log(stack: Stack) -> str:
    """Return the log of the worker process."""
    return (stack.data / "worker.log").read_text()


def redis_client(stack: Stack) -> redis.Redis:
    """Return a client of the Redis that Celery uses."""
    return redis.Redis.from_url((stack.data / "redis" / "url").read_text())


def wait_for_heartbeats(stack: Stack, order_id: str) -> None:
    """Wait until the worker has renewed the lease of its scan twice.

    At the second time it has processed the answer to the first.
    """
    with redis_client(stack) as client, client.monitor() as monitor:
        calls = (call for call in monitor.listen() if f" {order_id}.0 " in call["command"])
        assert next(calls)["command"].startswith("EVALSHA")
        assert next(calls)["command"].startswith("EVALSHA")


def log(stack: Stack, order_id: str) -> str:
    """Return the log of the order."""
    return str(stack.call("GET", f"/v1/orders/{order_id}/log")[1].decode())


def pool_child(stack: Stack) -> int:
    """Return the process id of the worker's child, which classifies."""
    parent = stack.processes["worker"].pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return next(
        int(pid) for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()
    )


def test_a_worker_that_is_stopped_hands_its_scan_back(
    stack: Stack, techcyte: TechcyteReceiver, few_tiles: Path
) -> None:
    """It does so after its grace, before its lease ends, and the attempt does not count."""
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
    """A scan that ends within the grace is finished, and then the worker ends."""
    restart_worker(stack, SLIDELANE_WORKER__GRACE_S="120")
    order_id = a_long_order(stack, few_tiles, techcyte)
    os.kill(stack.processes["worker"].pid, signal.SIGTERM)
    wait_for(
        lambda: "running work has 120 s" in worker_log(stack),
        what="the worker's reaction to the signal",
    )
    stack.gate.open()
    stack.processes["worker"].wait(timeout=120)
    assert scan(stack, order_id)["state"] == "classified"
    assert "lost by" not in log(stack, order_id)


def test_a_child_that_dies_is_told_with_its_signal_before_its_lease_ends(
    stack: Stack, techcyte: TechcyteReceiver, few_tiles: Path
) -> None:
    """SIGKILL, as for lack of memory: the parent reports it, and another child takes the scan."""
    restart_worker(stack, SLIDELANE_BROKER__LEASE_S=str(CHILD_CHECK_INTERVAL_S * 6))
    order_id = a_long_order(stack, few_tiles, techcyte)
    os.kill(pool_child(stack), signal.SIGKILL)
    wait_for(lambda: "lost by" in log(stack, order_id), what="the loss in the log")
    assert "signal 9 (SIGKILL)" in log(stack, order_id)
    stack.gate.open()
    assert stack.wait_until(order_id, "delivered", "failed")["state"] == "delivered"


def test_a_cancelled_scan_frees_its_worker(
    stack: Stack, techcyte: TechcyteReceiver, few_tiles: Path
) -> None:
    """The child of a cancelled scan stops between two batches and takes the next order."""
    order_id = a_long_order(stack, few_tiles, techcyte)
    child = pool_child(stack)
    log_length = len(worker_log(stack))
    tiles = scan(stack, order_id)["progress"]["total"]
    assert stack.call("POST", f"/v1/orders/{order_id}/cancel")[1]["state"] == "cancelled"
    wait_for_heartbeats(stack, order_id)
    stack.gate.open()
    scans = [{"id": "1", "source": {"type": "path", "path": str(few_tiles)}}]
    stack.wait_until(stack.order(algorithm="grid", scans=scans), "delivered")
    assert pool_child(stack) == child
    assert "stopped: " in worker_log(stack)[log_length:]
    assert stack.gate.passed() < tiles
    assert stack.get(order_id)["state"] == "cancelled"
    assert techcyte.ledger == []


def test_an_urgent_order_overtakes_all_that_wait(
    stack: Stack, few_tiles: Path, techcyte: TechcyteReceiver
) -> None:
    """An urgent order is the next one that a worker takes."""
    blocking = a_long_order(stack, few_tiles, techcyte)
    scans = [{"id": "1", "source": {"type": "path", "path": str(few_tiles)}}]
    normal = [stack.order(algorithm="grid", scans=scans) for _ in range(4)]
    urgent = stack.order(algorithm="grid", scans=scans, priority="urgent")
    with redis_client(stack) as client:
        waiting = (urgent, *normal)
        wait_for(lambda: all(scan(stack, order)["state"] == "staged" for order in waiting))
        wait_for(lambda: client.llen("gpu") and client.llen("gpu.urgent"), what="both queues")
    stack.gate.open()
    for order_id in (blocking, urgent, *normal):
        stack.wait_until(order_id, "delivered")
    ends = {order_id: stack.get(order_id)["updated_at"] for order_id in (urgent, *normal)}
    assert min(ends, key=lambda order_id: ends[order_id]) == urgent
