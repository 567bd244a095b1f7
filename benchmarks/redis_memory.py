"""What Redis needs for an order, waiting and delivered, against a Celery message that carries the same request."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from celery import Celery

from benchmarks.comparison import Row
from benchmarks.environment import Bed
from broker.order_store import OrderStore
from broker.orders.request import OrderRequest

ORDERS, MESSAGES = 0, 2
DOCUMENT = json.dumps(
    {
        "algorithm": "grid",
        "parameters": {"rows": 4, "columns": 4},
        "scans": [
            {
                "id": "8946136",
                "source": {"type": "path", "path": "/slides/2026/S26-1234/8946136.svs"},
            }
        ],
        "labels": {"case": "S26-1234"},
    }
)
SLIDE = {
    "path": "/slides/2026/S26-1234/8946136.svs",
    "digest": "stat:" + 64 * "0",
    "bytes": 1_234_567_890,
}
SUMMARY = {
    "headline": "16 boxes, 4 x 4",
    "boxes": 16,
    "frame": "level0",
    "width": 100_000,
    "height": 80_000,
}
TIMINGS = {"fetch_s": 0.001, "load_s": 0.001, "open_s": 0.009, "tissue_s": 0.013, "read_s": 0.031, "calibrate_s": 0.012,
           "model_s": 0.345, "merge_s": 0.002, "classify_s": 0.431, "draw_s": 0.071, "keep_s": 0.025, "bytes": 4109719,
           "read_bytes": 4435968, "kept_bytes": 81234, "tiles": 1, "tiles_resumed": 0, "tiles_per_s": 2.3}  # fmt: skip
ATTEMPT = {
    "digest": 64 * "0",
    "status": 201,
    "outcome": "accepted",
    "error": "",
    "remote_id": "18571",
}


class Used(NamedTuple):
    """Bytes in memory, and bytes of the append-only file, which is not rewritten meanwhile."""

    memory: int
    file: int


def measure(orders: int, say: Callable[[str], None]) -> list[Row]:
    """Growth over so many orders of one scan, for each of them."""
    with Bed() as bed:
        redis, store = bed.client(ORDERS), OrderStore.connect(bed.settings(ORDERS))
        redis.config_set("auto-aof-rewrite-percentage", 0)
        redis.config_set("appendfsync", "no")
        say(f"memory of {orders:,} orders")
        message = _each(redis, orders, _sender(bed))
        ids: list[str] = []
        request = OrderRequest.model_validate_json(DOCUMENT)
        waiting = _each(
            redis, orders, lambda: ids.append(store.create(request, queue="gpu").order_id)
        )
        life = _each(redis, orders, lambda: _live(store, ids.pop()))
    against = "waiting Celery message"
    return [
        Row("Redis memory, waiting order", "bytes", waiting.memory, against, message.memory),
        Row(
            "Redis memory, delivered order",
            "bytes",
            waiting.memory + life.memory,
            against,
            message.memory,
        ),
        Row("append-only file, accepted", "bytes", waiting.file, against, message.file),
        Row(
            "append-only file, whole life", "bytes", waiting.file + life.file, against, message.file
        ),
    ]


def _sender(bed: Bed) -> Callable[[], object]:
    app = Celery(broker=bed.url(MESSAGES))
    return lambda: app.send_task("chain.first", args=[DOCUMENT], queue="first")


def _each(redis: Any, orders: int, step: Callable[[], object]) -> Used:
    before = _used(redis)
    for _ in range(orders):
        step()
    after = _used(redis)
    return Used((after.memory - before.memory) // orders, (after.file - before.file) // orders)


def _used(redis: Any) -> Used:
    return Used(redis.info("memory")["used_memory"], redis.info("persistence")["aof_current_size"])


def _live(store: OrderStore, order_id: str) -> None:
    """All three legs, with the fields that `worker/stages.py` and `worker/delivery/deliver_order.py` write."""
    scan = f"{order_id}.0"
    if held := store.claim(scan, "fetch", "courier-12345@slidelane"):
        store.finish(
            held, "staged", {"slide": SLIDE, "timings": {"fetch_s": 0.001, "bytes": 1_234_567_890}}
        )
    if held := store.claim(scan, "classify", "gpu-12346@slidelane"):
        result = {"result": f"results/{order_id}/0.2", "summary": SUMMARY, "timings": TIMINGS}
        store.finish(held, "classified", result)
    if held := store.claim(order_id, "deliver", "courier-12345@slidelane"):
        parcel = {"file": f"parcels/{order_id}.{16 * '0'}", "digest": 64 * "0", "bytes": 688}
        store.note(
            held,
            {"parcel": parcel | {"content_type": "application/json"}},
            log="payload of 688 bytes stored",
        )
        store.note(held, attempt=(0, ATTEMPT | {"outcome": "unknown"}))
        store.note(held, attempt=(0, ATTEMPT), log="delivery attempt 1: accepted (201)")
        store.finish(held, "delivered")
