"""Where a scan's time went, as a caller sees it."""

from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient

from broker.order_store import OrderStore

OrderBody = Callable[..., dict[str, Any]]


def finish(store: OrderStore, work: str, stage: Any, to: str, timings: dict[str, float]) -> None:
    claim = store.claim(work, stage, "w1")
    assert claim
    store.finish(claim, to, {"timings": timings})


def test_a_classified_scan_names_its_bottleneck(
    api: TestClient, order_body: OrderBody, announced: OrderStore
) -> None:
    """The numbers are shown as they were measured; the name is absent until the scan is
    classified."""
    order_id = api.post("/v1/orders", json=order_body()).json()["id"]
    finish(announced, f"{order_id}.0", "fetch", "staged", {"fetch_s": 1.5, "bytes": 7})
    (scan,) = api.get(f"/v1/orders/{order_id}").json()["scans"]
    assert (scan["timings"], "bottleneck" in scan) == ({"fetch_s": 1.5, "bytes": 7.0}, False)
    measured = {
        "fetch_s": 1.5,
        "bytes": 7,
        "read_s": 0.5,
        "model_s": 2.5,
        "keep_s": 0.1,
        "tiles": 84,
    }
    finish(announced, f"{order_id}.0", "classify", "classified", measured)
    (scan,) = api.get(f"/v1/orders/{order_id}").json()["scans"]
    assert (scan["timings"], scan["bottleneck"]) == (measured, "model")


def test_a_scan_names_the_worker_and_the_task_that_has_it(
    api: TestClient, order_body: OrderBody, announced: OrderStore
) -> None:
    """By the ids that Flower shows; both are absent before the first attempt."""
    order_id = api.post("/v1/orders", json=order_body()).json()["id"]
    (scan,) = api.get(f"/v1/orders/{order_id}").json()["scans"]
    assert scan.keys().isdisjoint({"worker", "task"})
    claim = announced.claim(f"{order_id}.0", "fetch", "courier-1@here")
    assert claim
    (scan,) = api.get(f"/v1/orders/{order_id}").json()["scans"]
    assert (scan["worker"], scan["task"]) == ("courier-1@here", claim.task_id)
    announced.finish(claim, "staged", {})
    claim = announced.claim(f"{order_id}.0", "classify", "gpu-1@here")
    assert claim
    (scan,) = api.get(f"/v1/orders/{order_id}").json()["scans"]
    assert (scan["worker"], scan["task"]) == ("gpu-1@here", claim.task_id)
