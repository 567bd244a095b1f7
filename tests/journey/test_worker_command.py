"""`slidelane worker` as batch systems start it: it ends when all is done, or before its time is
over."""

import argparse
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from broker.order_store import OrderStore
from broker.settings.config import BrokerSettings
from demo.techcyte import TechcyteReceiver
from slidelane.worker import duration_s
from tests.support.slide_server import SlideServer, drips_until
from tests.support.stack import ROOT, Stack, wait_for
from worker.algorithms.builtin.cards import grid_card


class ServiceWithoutWorkers(Stack):
    """Redis and the API; workers are the test's to start."""

    roles: ClassVar[tuple[str, ...]] = ("api",)

    def worker(self, *asked: str, **settings: str) -> "subprocess.Popen[bytes]":
        """`slidelane worker …`; its lines, and those of its worker, go to one file for both
        roles."""
        command = [sys.executable, "-m", "slidelane.cli", "worker", *asked]
        with (self.data / "worker.log").open("ab") as log:
            worker = subprocess.Popen(
                command, cwd=ROOT, env=self.env | settings, stdout=log, stderr=log
            )
        self.processes[f"{asked[0]}-{worker.pid}"] = worker
        return worker

    def kill(self, role: str, number: int = signal.SIGKILL) -> None:
        """One of ours leads no group, and ends its worker itself."""
        if role in self.roles:
            super().kill(role, number)
        elif self.processes[role].poll() is None:
            self.processes[role].send_signal(signal.SIGTERM)
            self.processes[role].wait(timeout=60)

    @property
    def said(self) -> str:
        return (self.data / "worker.log").read_text()


@pytest.fixture
def service(tmp_path: Path, slide: Path) -> Iterator[ServiceWithoutWorkers]:
    with ServiceWithoutWorkers(tmp_path, [slide.parent]) as service:
        wait_for(lambda: service.call("GET", "/healthz")[0] == 200, what="/healthz")
        yield service


def announced(service: ServiceWithoutWorkers) -> bool:
    return bool(service.call("GET", "/v1/algorithms")[1]["algorithms"])


def test_workers_end_once_all_orders_are_delivered(
    service: ServiceWithoutWorkers, slide: Path, techcyte: TechcyteReceiver
) -> None:
    """Not before: the one that classifies stays while slides are still being fetched, the courier
    while others work."""
    courier = service.worker("courier", "--until-idle")
    wait_for(lambda: announced(service), what="an algorithm")
    destination = {
        "type": "techcyte",
        "base_url": techcyte.url,
        "task_id": "1",
        "jwt_token": techcyte.jwt_token,
    }
    roi = {"x": 2000, "y": 1500, "width": 1024, "height": 1024}
    scans = [
        {"id": name, "source": {"type": "path", "path": str(slide)}, "roi": roi} for name in "ab"
    ]
    orders = [service.order(algorithm="ki67", scans=scans, destination=destination)]
    orders += [service.order(algorithm="grid", scans=scans[:1]) for _ in range(2)]
    worker = service.worker("gpu", "--until-idle")
    assert worker.wait(timeout=150) == 0, service.said
    assert {scan["state"] for order_id in orders for scan in service.get(order_id)["scans"]} == {
        "classified"
    }
    assert courier.wait(timeout=90) == 0, service.said
    assert [service.get(order_id)["state"] for order_id in orders] == ["delivered"] * 3
    assert len(techcyte.ledger) == 1
    assert service.said.count("nothing is left to do") == 2


def test_a_worker_whose_time_is_nearly_over_hands_its_work_back(
    service: ServiceWithoutWorkers,
) -> None:
    """What would take longer goes back to its queue, counts for nothing, and the next worker takes
    it."""
    opened = threading.Event()
    with SlideServer() as origin:
        origin.answers["/slide.svs"] = drips_until(opened)
        # the worker's time must not pass while the order is placed
        OrderStore.connect(BrokerSettings(data=service.data)).announce([grid_card()])
        scans = [
            {
                "id": "1",
                "source": {
                    "type": "url",
                    "url": f"http://127.0.0.1:{origin.server_port}/slide.svs",
                },
            }
        ]
        order_id = service.order(algorithm="grid", scans=scans)
        courier = service.worker("courier", "--for", "30s")
        wait_for(lambda: service.get(order_id)["scans"][0]["state"] == "fetching", what="fetching")
        assert courier.wait(timeout=90) == 0, service.said
        assert "its time is nearly over" in service.said
        assert service.get(order_id)["scans"][0]["state"] == "queued"
        opened.set()
        assert service.worker("courier", "--until-idle").wait(timeout=90) == 0, service.said
    order = service.get(order_id)
    assert (order["state"], order["error"]["code"]) == ("failed", "scan_failed")
    assert order["scans"][0]["error"]["code"] == "input_not_found"
    assert "lost by" not in str(service.call("GET", f"/v1/orders/{order_id}/log")[1])


def test_a_worker_does_not_stay_for_what_it_cannot_run(
    service: ServiceWithoutWorkers, slide: Path
) -> None:
    """A batch job with a wrong setting would hold its device until the order expires."""
    OrderStore.connect(BrokerSettings(data=service.data)).announce([grid_card()])
    order_id = service.order(
        algorithm="grid", scans=[{"id": "1", "source": {"type": "path", "path": str(slide)}}]
    )
    wrong = '{"grid": {"kind": "grid", "parameters": {"rows": 0}}}'
    worker = service.worker("gpu", "--until-idle", SLIDELANE_WORKER__ALGORITHMS=wrong)
    assert worker.wait(timeout=90) == 0, service.said
    assert "worker.algorithms.grid: config: parameters.rows" in service.said
    assert service.get(order_id)["state"] == "queued"


def test_a_signal_stops_the_worker_and_its_children(service: ServiceWithoutWorkers) -> None:
    """SIGTERM to the command is SIGTERM to the worker; no process is left."""
    worker = service.worker("gpu", "--until-idle", SLIDELANE_WORKER__QUEUES='["gpu", "other"]')
    wait_for(lambda: announced(service), what="an algorithm")
    (child,) = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait(timeout=60) == 0
    assert not Path(f"/proc/{child}").exists()


def test_a_worker_that_dies_is_no_success(service: ServiceWithoutWorkers) -> None:
    """A batch system sees the status that a shell would show: 128 and the signal."""
    worker = service.worker("courier", "--until-idle", "--for", "1h")
    wait_for(lambda: announced(service), what="an algorithm")
    (child,) = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGKILL)
    assert worker.wait(timeout=60) == 128 + signal.SIGKILL


def test_a_time_too_short_to_work_in_is_refused(service: ServiceWithoutWorkers) -> None:
    """It would be stopped before it began; the setting that decides is named."""
    worker = service.worker("gpu", "--for", "10s", SLIDELANE_WORKER__GRACE_S="20")
    assert worker.wait(timeout=30) == 1
    assert "worker.grace_s" in service.said


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2h", 7200), ("90m", 5400), ("1h30m", 5400), ("45s", 45), ("3600", 3600), ("1d2h", 93600),
        ("1:30:00", 5400), ("90:00", 5400), ("2-00:00:00", 172800),
    ],
)  # fmt: skip
def test_a_time_is_read_as_people_and_batch_systems_write_it(text: str, seconds: float) -> None:
    """Seconds alone are a number alone."""
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "2 h", "-5", "1.5h", "h"])
def test_a_time_that_cannot_be_read_is_told(text: str) -> None:
    """With the forms that can."""
    with pytest.raises(argparse.ArgumentTypeError, match="write 2h"):
        duration_s(text)
