"""What KEDA would ask and be told, from no worker to one and back: a real API, courier, worker and Redis."""

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


class Asleep(Stack):
    """A service of which every worker has gone, behind keys."""

    roles: ClassVar[tuple[str, ...]] = ("api", "courier")

    def __init__(self, data: Path, roots: list[Path]) -> None:
        super().__init__(data, roots)
        hashes = {name: hashlib.sha256(key.encode()).hexdigest() for name, key in KEYS.items()}
        keys = [
            {"name": name, "sha256": digest, "scopes": SCOPES[name]}
            for name, digest in hashes.items()
        ]
        self.env["SLIDELANE_SERVICES__KEYS"] = json.dumps(keys)

    def as_lab(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {KEYS['lab']}"}

    def keda_reads(self) -> int:
        """As the metrics-api scaler does by the ScaledObject: GET with a token, the number at `valueLocation`."""
        trigger = find(rendered("gpu"), "ScaledObject", "worker")["spec"]["triggers"][0]["metadata"]
        path = trigger["url"].partition(":8000")[2]
        status, told = self.call("GET", path, headers={"Authorization": f"Bearer {KEYS['keda']}"})
        assert (status, trigger["authMode"]) == (200, "bearer"), told
        return int(told[trigger["valueLocation"]])

    def order_now(self, order_id: str) -> Any:
        return self.call("GET", f"/v1/orders/{order_id}", headers=self.as_lab())[1]


@pytest.fixture
def asleep(tmp_path: Path) -> Iterator[Asleep]:
    make_sample_slide(tmp_path / "a.svs", width_px=2000, height_px=1500)
    (tmp_path / "data").mkdir()
    with Asleep(tmp_path / "data", [tmp_path]) as stack:
        wait_for(lambda: stack.call("GET", "/healthz")[0] == 200, what="the API")
        yield stack


def test_work_wakes_workers_that_are_gone_and_its_end_lets_them_go(
    asleep: Asleep, tmp_path: Path
) -> None:
    """0, then what was ordered while nobody could do it, then never 0 until the last scan has ended, then 0."""
    algorithms = "/v1/algorithms/ki67"
    wait_for(
        lambda: asleep.call("GET", algorithms, headers=asleep.as_lab())[0] == 200,
        what="the courier's cards",
    )
    assert asleep.keda_reads() == 0
    scans = [
        {"id": str(n), "source": {"type": "path", "path": str(tmp_path / "a.svs")}}
        for n in range(3)
    ]
    status, order = asleep.call(
        "POST", "/v1/orders", {"algorithm": "ki67", "scans": scans}, headers=asleep.as_lab()
    )
    assert status == 202, order
    wait_for(lambda: asleep.keda_reads() == 3, what="three scans that wait for a worker")
    # what the API's pod is asked, and what it would say if it were asked for workers
    assert (asleep.call("GET", "/healthz")[0], asleep.call("GET", "/readyz")[0]) == (200, 503)

    told = []

    def is_delivered() -> bool:
        number, now = asleep.keda_reads(), asleep.order_now(order["id"])
        told.append((number, sum(scan["state"] != "classified" for scan in now["scans"])))
        return bool(now["state"] == "delivered")

    assert not is_delivered()
    asleep.start("worker")
    wait_for(is_delivered, within_s=150, what="the delivery")
    assert all(number >= unfinished for number, unfinished in told), (
        "a scan that was taken counts until it ends"
    )
    assert told[0] == (3, 3)
    assert asleep.keda_reads() == 0
