"""A scan with findings as tiles, classified without a worker."""

from pathlib import Path
from typing import Any

import numpy as np

from broker.file_storage.interface import Storage
from broker.order_store import OrderStore
from broker.orders.request import OrderRequest
from tests.support.results import Drawn, a_result, around, objects
from worker.geometry.frame import Area, Frame
from worker.results.stored_result import store_result

FRAME = Frame(9000, 5000, 0.25, 0.25, "slide")


def classified_scan(
    store: OrderStore, storage: Storage, count: int = 300, frame: Frame = FRAME
) -> tuple[str, Path]:
    """Return the path of a scan with a stored result, and the folder of the result if it is one."""
    source = {"type": "path", "path": "/slides/a.svs"}
    body = {"algorithm": "ki67", "scans": [{"id": "a", "source": source}]}
    request = OrderRequest.model_validate(body, strict=False)
    order_id = store.create(request, queue="gpu").order_id
    rng = np.random.default_rng(3)
    places = rng.uniform((0, 0), (frame.width, frame.height), (count, 2))
    found = objects([around(x, y) for x, y in places])
    result = a_result(found, frame=frame, area=Area(0, 0, frame.width, frame.height))
    key = f"results/{order_id}/0.2"
    stored = store_result(storage, key, result, Drawn(b"png"), lambda _done, _total: None)
    steps: list[tuple[Any, str, dict[str, Any]]] = [
        ("fetch", "staged", {}),
        ("classify", "classified", stored.fields),
    ]
    for stage, to, fields in steps:
        claim = store.claim(f"{order_id}.0", stage, "w1")
        assert claim
        store.finish(claim, to, fields)
    return f"/v1/orders/{order_id}/scans/a", storage.folder / key
