"""One service on several machines: API and courier on `a`, workers on `b` and `c`, the delivering
courier on `d`."""

import hashlib
import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from demo.bucket import FileBucket
from demo.slide import make_sample_slide
from demo.techcyte import TechcyteReceiver
from tests.support.gate import LOOKS_EVERY_S
from tests.support.machines import Machines
from tests.support.s3 import BUCKET, SECRET, S3Server
from tests.support.stack import GATED, ROLES, wait_for
from worker.inference.checkpoint import UNFINISHED


@dataclass(frozen=True)
class Shared:
    """The storage of one test: what the settings name it, and how it goes away and comes back."""

    named: str
    env: dict[str, str]
    server: S3Server | None = None

    def take_away(self) -> None:
        if self.server:
            self.server.remove_bucket()
        else:
            Path(self.named).rename(f"{self.named}-away")

    def bring_back(self) -> None:
        if self.server:
            self.server.make_bucket()
        else:
            Path(f"{self.named}-away").rename(self.named)

    def files(self) -> set[str]:
        if self.server:
            return self.server.below("site/1")
        return {
            str(path.relative_to(self.named))
            for path in Path(self.named).rglob("*")
            if path.is_file()
        }


@pytest.fixture(params=["folder", "bucket"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shared]:
    if request.param == "folder":
        (tmp_path / "share").mkdir()
        yield Shared(str(tmp_path / "share"), {})
        return
    with S3Server() as server:
        yield Shared(f"s3://{BUCKET}/site/1", server.env, server)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of six tiles: the gate holds them as long as a test needs."""
    path = tmp_path_factory.mktemp("slides") / "sample.svs"
    make_sample_slide(path, width_px=768, height_px=512)
    return path


@pytest.fixture
def machines(shared: Shared, tmp_path: Path, slide: Path) -> Iterator[Machines]:
    (tmp_path / "data").mkdir()
    machines = Machines(tmp_path / "data", [slide.parent], shared.named, shared.env)
    machines.modules = ROLES | GATED
    with machines:
        machines.start("api-a")
        machines.start("courier-a")
        yield machines


def placed(machines: Machines, scan: dict[str, Any], lab: TechcyteReceiver) -> str:
    """An order's id, once a courier on `a` has fetched its slide; no worker runs yet."""
    destination = {
        "type": "techcyte",
        "base_url": lab.url,
        "task_id": "185714",
        "jwt_token": lab.jwt_token,
    }
    wait_for(
        lambda: (machines.call("GET", "/v1/algorithms")[1] or {}).get("algorithms"),
        what="an algorithm",
    )
    order_id = machines.order(
        algorithm="ki67", scans=[{"id": "1", **scan}], destination=destination
    )
    wait_for(lambda: machines.get(order_id)["scans"][0]["state"] == "staged", what="the slide")
    return order_id


def delivered(machines: Machines, order_id: str) -> dict[str, Any]:
    order = machines.wait_until(order_id, "delivered", "undelivered", "failed")
    assert order["state"] == "delivered", order
    return dict(order)


def bytes_of(machines: Machines, path: str, **headers: str) -> tuple[int, bytes]:
    with urllib.request.urlopen(
        urllib.request.Request(machines.url + path, headers=headers), timeout=60
    ) as answer:
        return answer.status, answer.read()


def marks(machines: Machines, shared: Shared) -> int:
    """How many tiles the worker on `b` has marked."""
    folder = machines.disk("b") / "unsent" if shared.server else Path(shared.named)
    points = [json.loads(path.read_bytes()) for path in (folder / UNFINISHED).glob("*/point.json")]
    return max((int(point["tiles"]) for point in points), default=0)


def begun_and_marked(machines: Machines, shared: Shared) -> int:
    """Start a worker on `b`, and wait until it is held in the middle of its scan.

    Answers how many tiles it has marked.
    """
    machines.gate.close(after=1)
    machines.start("worker-b", SLIDELANE_BROKER__HEARTBEAT_S=str(LOOKS_EVERY_S / 2))
    wait_for(machines.gate.held, what="a tile at the gate")
    machines.gate.close(after=2)  # a mark is due after a tile that was held
    return int(wait_for(lambda: marks(machines, shared), what="a mark"))


@pytest.mark.timeout(300)
def test_an_order_goes_from_machine_to_machine_and_is_delivered_once(
    machines: Machines, shared: Shared, techcyte: TechcyteReceiver, bucket: FileBucket
) -> None:
    """Fetched on `a`, begun on `b`, which dies, classified on `c`, sent by `d`, and picked up whole
    from the API on `a`.

    From a shared folder `c` goes on where `b` was lost; with a bucket it begins anew, as the documents say.
    """
    order_id = placed(machines, {"source": {"type": "url", "url": bucket.signed_url}}, techcyte)
    machines.kill("courier-a")
    machines.start("courier-d")
    marked = begun_and_marked(machines, shared)
    machines.kill("worker-b")
    machines.gate.open()
    machines.start("worker-c")
    order = delivered(machines, order_id)
    assert len(techcyte.ledger) == 1

    scan = order["scans"][0]
    assert (
        scan["timings"]["tiles_resumed"] == 0
        if shared.server
        else scan["timings"]["tiles_resumed"] >= marked
    )
    results = {name: bytes_of(machines, path)[1] for name, path in scan["links"].items()}
    assert (
        len(json.loads(results["features.geojson"])["features"]) == scan["summary"]["nuclei"] > 100
    )
    assert results["overlay.png"].startswith(b"\x89PNG")
    assert json.loads(results["results.json"])["scan"] == "1"
    payload = bytes_of(machines, order["links"]["payload"])[1]
    assert hashlib.sha256(payload).hexdigest() == techcyte.ledger[0].sha256
    part = bytes_of(machines, scan["links"]["overlay.png"], Range="bytes=100-299")
    assert part == (206, results["overlay.png"][100:300])

    assert {name.split("/")[0] for name in shared.files()} == {"results", "parcels"}
    for machine in "abcd":
        assert machines.files(machine, "results") + machines.files(machine, "parcels") == []
    wait_for(
        lambda: not machines.files("c", "unsent") + machines.files("d", "unsent"),
        what="nothing left to be sent",
    )
    slides = {
        machine: len(list(machines.disk(machine).glob("shelf/*/*/slide.tif"))) for machine in "abcd"
    }
    assert slides == {"a": 1, "b": 1, "c": 1, "d": 0}
    assert not any(SECRET in machines.said(role) for role in machines.processes)
    assert SECRET not in str(order) + bytes_of(machines, order["links"]["log"])[1].decode()


@pytest.mark.timeout(300)
def test_a_storage_that_is_away_delays_an_order_and_loses_none(
    machines: Machines, shared: Shared, techcyte: TechcyteReceiver, slide: Path
) -> None:
    """Gone while a scan is classified, back later: delivered once, and log and API say what is
    missing."""
    order_id = placed(machines, {"source": {"type": "path", "path": str(slide)}}, techcyte)
    marked = begun_and_marked(machines, shared)
    shared.take_away()
    machines.gate.open()
    if shared.server:  # what was found waits on `b`, to be put once more
        wait_for(lambda: "there is no such bucket" in machines.said("worker-b"), what="the fault")
    else:
        wait_for(
            lambda: "storage_unreachable: the folder" in log(machines, order_id), what="the fault"
        )
    assert machines.get(order_id)["state"] == "running"
    shared.bring_back()
    order = delivered(machines, order_id)
    assert len(techcyte.ledger) == 1
    assert shared.server or order["scans"][0]["timings"]["tiles_resumed"] >= marked

    if not shared.server:  # a bucket with something in it cannot be taken away
        shared.take_away()
        status, problem = machines.call("GET", order["scans"][0]["links"]["overlay.png"])
        assert (status, problem["code"]) == (503, "storage_unreachable")


def log(machines: Machines, order_id: str) -> str:
    return bytes_of(machines, f"/v1/orders/{order_id}/log")[1].decode()
