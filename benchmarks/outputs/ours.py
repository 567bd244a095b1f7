"""Runs an algorithm on a whole slide as a worker does, from opening it to its result files."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.download import IgnoredProgress
from broker.orders.order import Order, OrderState
from broker.orders.request import OrderRequest
from worker.algorithms import registry
from worker.algorithms.registry import Settings
from worker.inference import pipeline
from worker.inference.checkpoint import Checkpoint
from worker.inference.parallel_tiles import MAX_BATCH_BYTES
from worker.process.cgroup_limits import granted_cores
from worker.progress import Stopwatch
from worker.results import result_folder
from worker.slide_cache.local_slide import LocalSlide
from worker.slides.sandbox.client import Sandbox

REGION = {"x": 0, "y": 0, "width": 4096, "height": 4096}
"""What a new process looks at before it is measured."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run took and found: `found` objects, or tiles that have a vector."""

    tiles: int
    found: int
    seconds: float
    timings: Mapping[str, float]


def run(settings: Settings, algorithm: str, slide: Path, roi: Mapping[str, int] | None) -> Outcome:
    """Run the algorithm on the slide, or on a region of it. Loading the network does not count."""
    model = registry.load(algorithm, settings, {}, "cpu", max_batch_bytes=MAX_BATCH_BYTES)
    with tempfile.TemporaryDirectory(prefix="slidelane-bench-") as name:
        folder = Path(name)
        checkpoint = Checkpoint(folder / "unfinished" / "1.0.1")
        order = order_for(slide, algorithm, roi)
        job = pipeline.ScanJob(order, order.request.scans[0], LocalSlide(slide, "0" * 64, 1))
        began = perf_counter()
        done = pipeline.classify(job, model, checkpoint, _sandbox(), Stopwatch(), IgnoredProgress())
        found = len(done.result.findings.objects)
        result_folder.save(folder / "result", done.result, done.overlay)
        seconds = perf_counter() - began
    return Outcome(int(done.timings["tiles"]), found, seconds, done.timings)


@cache
def _sandbox() -> Sandbox:
    """Return the sandbox that a worker keeps: its server of decoder processes has started."""
    return Sandbox(granted_cores())


def order_for(slide: Path, algorithm: str, roi: Mapping[str, int] | None = None) -> Order:
    """Return an order for this slide as a worker takes it."""
    scan: dict[str, Any] = {"id": "1", "source": {"type": "path", "path": str(slide)}}
    if roi is not None:
        scan["roi"] = dict(roi)
    request = OrderRequest.model_validate({"algorithm": algorithm, "scans": [scan]}, strict=False)
    return Order(
        id="1",
        state=OrderState.RUNNING,
        request=request,
        queue="gpu",
        created_at=1,
        updated_at=1,
        expires_at=9,
        scans=(),
    )
