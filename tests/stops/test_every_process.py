"""Stops that reach every process of a worker at once, as systemd, supervisord and terminals do."""

import os
import signal
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import child_of_pool, command, family, signal_family
from tests.support.slide_server import SlideServer, drips_until
from tests.support.stack import Stack, wait_for

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def scan(service: Stack, order_id: str) -> Any:
    return service.get(order_id)["scans"][0]


def log(service: Stack, order_id: str) -> str:
    return str(service.call("GET", f"/v1/orders/{order_id}/log")[1].decode())


def order(service: Stack, slide: Path) -> str:
    """Order the whole slide; its first tile waits at the gate."""
    service.gate.close()
    scans = [{"id": "1", "source": {"type": "path", "path": str(slide)}}]
    return service.order(algorithm="ki67", scans=scans)


def at_the_gate(service: Stack, order_id: str) -> int:
    """Wait until the worker has a tile of the order at the gate; return its process id."""
    worker = service.processes["worker"].pid
    wait_for(lambda: service.gate.held() & set(family(worker)), what="a tile at the gate")
    wait_for(lambda: scan(service, order_id)["state"] == "classifying", what="classifying")
    return worker


def have_ended(pids: list[int]) -> bool:
    return not any(command(pid) for pid in pids)


@pytest.mark.timeout(300)
def test_a_scan_outlives_any_number_of_stops_of_its_worker(service: Stack, slide: Path) -> None:
    """Each is answered with status 0, gives the scan back and leaves no process behind."""
    order_id = order(service, slide)
    for number in STOPS:
        worker = at_the_gate(service, order_id)
        pids = signal_family(worker, number)
        assert service.processes["worker"].wait(timeout=60) == 0
        assert scan(service, order_id)["state"] == "staged"
        wait_for(partial(have_ended, pids), what="the end of every process")
        service.start("worker")
    service.gate.open()
    assert service.wait_until(order_id, "delivered", "failed")["state"] == "delivered"
    assert "Traceback" not in (service.data / "worker.log").read_text()


@pytest.mark.timeout(300)
def test_a_child_that_does_not_react_is_killed_and_costs_no_attempt(
    service: Stack, slide: Path
) -> None:
    """Frozen, it stands for one that computes without end; the parent gives its scan back."""
    service.kill("worker", signal.SIGTERM)
    # A frozen child renews no lease; this one outlasts grace and shutdown.
    service.env["SLIDELANE_BROKER__LEASE_S"] = "60"
    service.start("worker")
    order_id = order(service, slide)
    worker = at_the_gate(service, order_id)
    os.kill(child_of_pool(worker), signal.SIGSTOP)
    signal_family(worker, signal.SIGTERM)
    assert service.processes["worker"].wait(timeout=60) == 0
    assert scan(service, order_id)["state"] == "staged"
    assert "it was asked to stop" in log(service, order_id)
    service.gate.open()
    service.start("worker")
    assert service.wait_until(order_id, "delivered", "failed")["state"] == "delivered"


def test_the_decoder_and_the_child_go_on_until_the_work_is_done(
    service: Stack, slide: Path
) -> None:
    """Within its grace the worker finishes a scan although every process got each signal."""
    service.kill("worker", signal.SIGTERM)
    service.start("worker", SLIDELANE_WORKER__GRACE_S="120")
    order_id = order(service, slide)
    worker = at_the_gate(service, order_id)
    assert any("worker.slides.sandbox" in command(pid) for pid in family(worker))
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal_family(worker, number)
    wait_for(lambda: "running work has 120 s" in (service.data / "worker.log").read_text())
    service.gate.open()
    assert service.processes["worker"].wait(timeout=120) == 0
    assert scan(service, order_id)["state"] == "classified"
    assert log(service, order_id).count("classify taken by") == 1


def test_a_second_ctrl_c_ends_the_grace(service: Stack, slide: Path) -> None:
    """Somebody at a terminal need not wait for the rest of it."""
    service.kill("worker", signal.SIGTERM)
    service.start("worker", SLIDELANE_WORKER__GRACE_S="3600")
    order_id = order(service, slide)
    worker = at_the_gate(service, order_id)
    for _ in range(2):
        signal_family(worker, signal.SIGINT)
        wait_for(lambda: "running work has 3600 s" in (service.data / "worker.log").read_text())
    assert service.processes["worker"].wait(timeout=60) == 0
    assert scan(service, order_id)["state"] == "staged"


@pytest.mark.timeout(300)
def test_a_fetch_outlives_any_number_of_stops_of_its_courier(service: Stack) -> None:
    """A download that takes long is given back each time, and its attempts do not count."""
    opened = threading.Event()
    with SlideServer() as origin:
        origin.answers["/slide.svs"] = drips_until(opened)
        url = f"http://127.0.0.1:{origin.server_port}/slide.svs"
        scans = [{"id": "1", "source": {"type": "url", "url": url}}]
        order_id = service.order(algorithm="grid", scans=scans)
        for number in STOPS:
            wait_for(lambda: scan(service, order_id)["state"] == "fetching", what="fetching")
            signal_family(service.processes["courier"].pid, number)
            assert service.processes["courier"].wait(timeout=60) == 0
            assert scan(service, order_id)["state"] == "queued"
            service.start("courier")
        opened.set()
        service.wait_until(order_id, "failed")
    assert scan(service, order_id)["error"]["code"] == "input_not_found"
    assert "lost by" not in log(service, order_id)
