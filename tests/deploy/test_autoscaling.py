"""The numbers that KEDA reads to scale workers from none to one and back, with real processes."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from demo.slide import make_sample_slide
from tests.support.kubernetes_objects import find
from tests.support.kustomize import rendered
from tests.support.stack import Stack, wait_for

KEYS = {"lab": "a key that orders", "keda": "a key that reads"}
SCOPES = {"lab": ["order", "read"], "keda": ["read"]}


class ScaledToZero(Stack):
    """A service without a worker, whose API requires keys."""

    roles: ClassVar[tuple[str, ...]] = ("api", "courier")

    def __init__(self, data: Path, roots: list[Path]) -> None:
        super().__init__(data, roots)
        hashes = {name: hashlib.sha256(key.encode()).hexdigest() for name, key in KEYS.items()}
        keys = [
            {"name": name, "sha256": digest, "scopes": SCOPES[name]}
            for name, digest in hashes.items()
        ]
        self.env["SLIDELANE_SERVICES__KEYS"] = json.dumps(keys)

    def lab_headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {KEYS['lab']}"}

    def keda_reads(self) -> int:
        """Return the number that KEDA's metrics-api scaler gets.

        As the ScaledObject says: GET with a bearer token, and the number at `valueLocation`.
        """
        trigger = find(rendered("gpu"), "ScaledObject", "worker")["spec"]["triggers"][0]["metadata"]
        path = trigger["url"].partition(":8000")[2]
        status, metrics = self.call(
            "GET", path, headers={"Authorization": f"Bearer {KEYS['keda']}"}
        )
        assert (status, trigger["authMode"]) == (200, "bearer"), metrics
        return int(metrics[trigger["valueLocation"]])

    def get_order(self, order_id: str) -> Any:
        return self.call("GET", f"/v1/orders/{order_id}", headers=self.lab_headers())[1]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ScaledToZero]:
    make_sample_slide(tmp_path / "a.svs", width_px=2000, height_px=1500)
    (tmp_path / "data").mkdir()
    with ScaledToZero(tmp_path / "data", [tmp_path]) as stack:
        wait_for(lambda: stack.call("GET", "/healthz")[0] == 200, what="the API")
        yield stack


def test_work_wakes_workers_that_are_gone_and_its_end_lets_them_go(
    service: ScaledToZero, tmp_path: Path
) -> None:
    """The number is 0 without orders, and counts every scan from its order until its end."""
    algorithms = "/v1/algorithms/ki67"
    wait_for(
        lambda: service.call("GET", algorithms, headers=service.lab_headers())[0] == 200,
        what="the courier's cards",
    )
    assert service.keda_reads() == 0
    scans = [
        {"id": str(n), "source": {"type": "path", "path": str(tmp_path / "a.svs")}}
        for n in range(3)
    ]
    status, order = service.call(
        "POST",
        "/v1/orders",
        {"algorithm": "ki67", "scans": scans},
        headers=service.lab_headers(),
    )
    assert status == 202, order
    wait_for(lambda: service.keda_reads() == 3, what="three scans that wait for a worker")
    # the first is the probe of the API's pod; the second would fail without workers
    assert (service.call("GET", "/healthz")[0], service.call("GET", "/readyz")[0]) == (200, 503)

    readings = []

    def is_delivered() -> bool:
        number = service.keda_reads()
        now = service.get_order(order["id"])
        unfinished = sum(scan["state"] != "classified" for scan in now["scans"])
        readings.append((number, unfinished))
        return bool(now["state"] == "delivered")

    assert not is_delivered()
    service.start("worker")
    wait_for(is_delivered, within_s=150, what="the delivery")
    assert all(number >= unfinished for number, unfinished in readings), (
        "a scan that is being classified counts until it ends"
    )
    assert readings[0] == (3, 3)
    assert service.keda_reads() == 0
