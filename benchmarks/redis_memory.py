"""Measures what Redis needs for an order, against a Celery message with the same request."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from celery import Celery

from benchmarks.comparison import Comparison
from benchmarks.environment import Environment
from broker.order_store import OrderStore
from broker.orders.request import OrderRequest

# Redis databases.
ORDERS = 0
MESSAGES = 2
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
TIMINGS = {
    "fetch_s": 0.001,
    "load_s": 0.001,
    "open_s": 0.009,
    "tissue_s": 0.013,
    "read_s": 0.031,
    "calibrate_s": 0.012,
    "model_s": 0.345,
    "merge_s": 0.002,
    "classify_s": 0.431,
    "draw_s": 0.071,
    "keep_s": 0.025,
    "bytes": 4109719,
    "read_bytes": 4435968,
    "kept_bytes": 81234,
    "tiles": 1,
    "tiles_resumed": 0,
    "tiles_per_s": 2.3,
}
ATTEMPT = {
    "digest": 64 * "0",
    "status": 201,
    "outcome": "accepted",
    "error": "",
    "remote_id": "18571",
}


class Used(NamedTuple):
    """Bytes in memory, and bytes of the append-only file, which is not rewritten."""

    memory: int
    file: int


def measure(orders: int, report: Callable[[str], None]) -> list[Comparison]:
    """Return the growth for each of so many orders of one scan."""
    with Environment() as env:
        redis = env.client(ORDERS)
        store = OrderStore.connect(env.settings(ORDERS))
        redis.config_set("auto-aof-rewrite-percentage", 0)
        redis.config_set("appendfsync", "no")
        report(f"memory of {orders:,} orders")
        message = _each(redis, orders, _sender(env))
        ids: list[str] = []
        request = OrderRequest.model_validate_json(DOCUMENT)
        waiting = _each(
            redis, orders, lambda: ids.append(store.create(request, queue="gpu").order_id)
        )
        life = _each(redis, orders, lambda: _work_on(store, ids.pop()))
    against = "waiting Celery message"
    return [
        Comparison("Redis memory, waiting order", "bytes", waiting.memory, against, message.memory),
        Comparison(
            "Redis memory, delivered order",
            "bytes",
            waiting.memory + life.memory,
            against,
            message.memory,
        ),
        Comparison("append-only file, accepted", "bytes", waiting.file, against, message.file),
        Comparison(
            "append-only file, whole life", "bytes", waiting.file + life.file, against, message.file
        ),
    ]


def _sender(env: Environment) -> Callable[[], object]:
    app = Celery(broker=env.url(MESSAGES))
    return lambda: app.send_task("chain.first", args=[DOCUMENT], queue="first")


def _each(redis: Any, orders: int, step: Callable[[], object]) -> Used:
    before = _used(redis)
    for _ in range(orders):
        step()
    after = _used(redis)
    return Used((after.memory - before.memory) // orders, (after.file - before.file) // orders)


def _used(redis: Any) -> Used:
    return Used(redis.info("memory")["used_memory"], redis.info("persistence")["aof_current_size"])


def _work_on(store: OrderStore, order_id: str) -> None:
    """Do all three stages, with the fields that a worker writes."""
    scan = f"{order_id}.0"
    fetch = store.claim(scan, "fetch", "courier-12345@slidelane")
    if fetch:
        timings = {"fetch_s": 0.001, "bytes": 1_234_567_890}
        store.finish(fetch, "staged", {"slide": SLIDE, "timings": timings})
    classify = store.claim(scan, "classify", "gpu-12346@slidelane")
    if classify:
        result = {"result": f"results/{order_id}/0.2", "summary": SUMMARY, "timings": TIMINGS}
        store.finish(classify, "classified", result)
    deliver = store.claim(order_id, "deliver", "courier-12345@slidelane")
    if deliver:
        payload = {
            "file": f"parcels/{order_id}.{16 * '0'}",
            "digest": 64 * "0",
            "bytes": 688,
            "content_type": "application/json",
        }
        store.note(deliver, {"parcel": payload}, log="payload of 688 bytes stored")
        store.note(deliver, attempt=(0, ATTEMPT | {"outcome": "unknown"}))
        store.note(deliver, attempt=(0, ATTEMPT), log="delivery attempt 1: accepted (201)")
        store.finish(deliver, "delivered")
