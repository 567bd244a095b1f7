"""`GET /v1/system`: what is known of the service, and nothing that is secret."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from broker.errors import Problem
from broker.machine import machine_with
from broker.order_store import OrderStore
from broker.order_store.arrivals import Arrival, Look
from broker.orders.algorithm_card import Announcement
from services.routes.monitoring.checks import disk_rows
from tests.services.conftest import CARD
from tests.support.orders import a_request

GPU = {"id": "GPU-1", "name": "NVIDIA L40S", "memory_bytes": 48_000, "memory_free_bytes": 40_000}
MACHINE: dict[str, Any] = {"cores": 16, "load_1m": 2.5, "disk_free_bytes": 7, "gpus": [GPU]}


def test_the_whole_service_is_shown(api: TestClient, announced: OrderStore) -> None:
    """The API's machine, each worker with its own, each GPU once, and who runs what."""
    announcement = Announcement((CARD,), (), {"grid": "its settings are wrong"})
    for name in ("gpu@a.1", "gpu@a.2"):
        announced.present(name, ["gpu"], announcement, {"roots": ["/slides"]}, MACHINE)
    announced.present("courier@b.1", ["fetch", "deliver"])
    shown = api.get("/v1/system").json()
    assert shown.keys() == {
        "version", "cpu", "memory", "disk", "gpus", "redis", "workers", "queues", "algorithms",
        "checks", "links",
    }  # fmt: skip
    assert shown["cpu"]["cores"] > 0
    assert 0 < shown["memory"]["free_bytes"] <= shown["memory"]["bytes"]
    assert [disk["folder"] for disk in shown["disk"]] == ["data"]
    assert shown["redis"]["durable"] is True
    (gpu,) = shown["gpus"]
    assert gpu["name"] == "NVIDIA L40S"
    assert sorted(gpu["workers"]) == ["gpu@a.1", "gpu@a.2"]
    workers = {worker["name"]: worker for worker in shown["workers"]}
    assert workers["gpu@a.1"]["machine"]["load_1m"] == 2.5
    assert "machine" not in workers["courier@b.1"]
    assert workers["courier@b.1"]["offered"] is None
    algorithms = {one["name"]: one for one in shown["algorithms"]}
    assert sorted(algorithms["ki67"]["workers"]) == ["gpu@a.1", "gpu@a.2"]
    assert algorithms["grid"] == {
        "name": "grid", "title": "grid", "version": None, "queue": None, "available": False,
        "reason": "its settings are wrong", "workers": [],
    }  # fmt: skip
    assert {queue["name"] for queue in shown["queues"]} >= {"fetch", "deliver", "gpu"}
    assert shown["links"] == {"docs": "/docs", "openapi": "/openapi.json", "metrics": "/metrics"}


def test_folders_and_addresses_are_not_shown(api: TestClient, announced: OrderStore) -> None:
    """Where slides lie and where Redis is helps nobody who reads the page."""
    announced.present("gpu@a.1", ["gpu"], None, {"roots": ["/slides/secret-ward"]}, MACHINE)
    arrivals = announced.arrivals
    arrivals.lead("f", "courier-1", 60)
    arrivals.note_look("f", Look("/slides/secret-ward/in", "ki67", 7, 2))
    arrivals.arrive(Arrival("f", "/slides/secret-ward/in/a.svs", "secret-ward.svs", "1:1"))
    (refused,) = arrivals.take()
    arrivals.end(refused, Problem("parameters_invalid", "parameters.x: there is none"))
    text = api.get("/v1/system").text
    assert "7 slides, 2 arriving, policy ki67; 1 were refused" in text
    assert "secret-ward" not in text
    assert "redis://" not in text


def test_the_checks_are_rows_of_doctor(api: TestClient, announced: OrderStore) -> None:
    """Each says what it is about, whether it is fine, and what it means."""
    announced.present("courier@b.1", ["fetch", "deliver"])
    rows = {row["what"]: row for row in api.get("/v1/system").json()["checks"]}
    assert rows.keys() == {"redis", "workers", "queues", "disk of data", "uploads", "viewer"}
    assert rows["redis"]["state"] == "ok"
    assert "append-only file, answers in" in rows["redis"]["message"]
    assert rows["workers"]["state"] == "absent"
    assert "nobody classifies" in rows["workers"]["message"]
    assert rows["viewer"]["state"] == "absent"
    assert "slides are ordered all the same" in rows["viewer"]["message"]
    assert rows["disk of data"]["message"].startswith("broker.data: ")


def test_a_disk_is_judged_by_what_is_read_of_it(tmp_path: Path) -> None:
    """In containers the API reads results alone, so that nothing is written there to find out."""
    data = replace(machine_with(tmp_path), disk_bytes=10**12, disk_free_bytes=10**11)
    full = replace(data, disk_free_bytes=10**8)
    away = machine_with(tmp_path / "away")
    rows = list(disk_rows({"data": data, "storage": full})) + list(disk_rows({"storage": away}))
    assert [(row.what, row.state) for row in rows] == [
        ("disk of data", "ok"), ("disk of storage", "failed"), ("disk of storage", "failed")
    ]  # fmt: skip
    assert rows[1].message.endswith("which is kept free: no slide would be fetched")
    assert "not there" in rows[2].message


def test_work_that_no_worker_takes_is_a_fault(api: TestClient, announced: OrderStore) -> None:
    """As where a queue has a misspelt name in the options of a worker."""
    announced.create(a_request(), queue="gpu")
    rows = {row["what"]: row for row in api.get("/v1/system").json()["checks"]}
    assert rows["queues"]["state"] == "failed"
    assert "1 on fetch" in rows["queues"]["message"]


def test_a_heartbeat_of_another_version_hides_no_worker(
    api: TestClient, announced: OrderStore
) -> None:
    """What it tells of its machine is left out."""
    announced.present("gpu@a.1", ["gpu"], None, None, {"cores": "many"})
    (worker,) = api.get("/v1/system").json()["workers"]
    assert "machine" not in worker


def test_it_needs_a_key(keyed: TestClient) -> None:
    """As everything that shows how the service is doing."""
    assert keyed.get("/v1/system").status_code == 401
    assert keyed.get("/v1/system", headers={"X-API-Key": "read-key-2"}).status_code == 200
