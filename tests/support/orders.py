"""Orders for tests of the record: requests, and the steps that bring an order to a state."""

from typing import Any

from broker.order_store import Claim, OrderStore
from broker.orders.order import Stage
from broker.orders.request import OrderRequest

TECHCYTE = {
    "type": "techcyte",
    "host": "ci.techcyte.com",
    "task_id": "dGFzazox",
    "jwt_token": "top-secret-token",
}


def a_request(scans: int = 1, **more: Any) -> OrderRequest:
    """Return a request for the algorithm `grid` with this many scans."""
    slides = [
        {"id": str(n), "source": {"type": "path", "path": "/slides/a.svs"}} for n in range(scans)
    ]
    body = {"algorithm": "grid", "scans": tuple(slides), **more}
    return OrderRequest.model_validate(body, strict=False)


def taken(store: OrderStore, work: str, stage: Stage) -> Claim:
    """Return the claim of waiting work."""
    claim = store.claim(work, stage, "w1")
    assert claim
    return claim


def classify(store: OrderStore, order_id: str, index: int = 0) -> None:
    """Bring one scan from `queued` to `classified`."""
    work = f"{order_id}.{index}"
    store.finish(taken(store, work, "fetch"), "staged")
    store.finish(taken(store, work, "classify"), "classified", {"result": "results/x"})


def deliver(store: OrderStore, order_id: str) -> None:
    """Bring an order of one scan from `queued` to `delivered`, with one accepted attempt."""
    classify(store, order_id)
    claim = taken(store, order_id, "deliver")
    store.note(claim, attempt=(0, {"digest": "d", "status": 201, "outcome": "accepted"}))
    store.finish(claim, "delivered")
