"""One scan, from a slide that is near to its result. Knows nothing of states, queues or destinations."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from time import monotonic

from broker.orders.order import Order
from broker.orders.request import ScanRequest
from worker.algorithms.interface import Algorithm, ReportAlgorithm, TileAlgorithm
from worker.geometry.frame import Area, MppSource, Pixels
from worker.geometry.roi import resolve_roi
from worker.inference.checkpoint import Checkpoint
from worker.inference.tile_inference import Counts, TileJob, run_tiles
from worker.progress import Progress, Stopwatch
from worker.results import overlay
from worker.results.result import Findings, Result
from worker.slides.reader import ReadableSlide
from worker.slides.sandbox.client import Sandbox
from worker.sources.fetch import LocalSlide


@dataclass(frozen=True, slots=True)
class Job:
    """One scan to classify: what was asked, the slide that is near, and where its unfinished findings lie."""

    order: Order
    asked: ScanRequest
    copy: LocalSlide
    checkpoint: Checkpoint
    clock: Stopwatch = field(default_factory=Stopwatch)


@dataclass(frozen=True, slots=True)
class Done:
    """What classifying one scan came to, with what the clock has measured so far and some counts in `timings`.

    `overlay` waits for the picture, which another thread draws; only after that may the findings move.
    """

    result: Result
    overlay: Callable[[], bytes]
    timings: dict[str, float]


def classify(job: Job, model: Algorithm, sandbox: Sandbox, watch: Progress) -> Done:
    """Open the slide, find what there is to find in the area that was asked for, and draw it."""
    began, order, asked, clock = monotonic(), job.order, job.asked, job.clock
    with ExitStack() as opened:
        with clock.stage("open"):
            slide = opened.enter_context(sandbox.open(job.copy.path, *_said_mpp(asked, job.copy)))
        area = resolve_roi(asked.roi, slide.frame)
        findings, counts = _FINDERS[model.card.output](job, model, slide, area, watch)
        took_s = monotonic() - began
        parameters, provenance = dict(order.request.parameters), _provenance(slide, job.copy)
        result = Result(order.id, asked.id, model.card, parameters, findings, provenance)
        watch.progress("drawing", 0, 1)
        with clock.stage("read"):
            view = slide.overview(area, overlay.MAX_PX)
    return Done(
        result, _begin_drawing(view, result, clock), _measured(counts, took_s) | clock.timings
    )


def _begin_drawing(view: Pixels, result: Result, clock: Stopwatch) -> Callable[[], bytes]:
    def draw() -> tuple[bytes, float]:
        began = monotonic()
        return overlay.draw(view, result), monotonic() - began

    pen = ThreadPoolExecutor(1, thread_name_prefix="overlay")
    drawing = pen.submit(draw)
    pen.shutdown(wait=False)

    def drawn() -> bytes:
        picture, spent_s = drawing.result()
        clock.add("draw", spent_s)
        return picture

    return drawn


def _measured(counts: Counts, took_s: float) -> dict[str, float]:
    measured = {"classify_s": round(took_s, 3), **counts}
    if "tiles" in counts:
        measured["tiles_per_s"] = round(
            (counts["tiles"] - counts["tiles_resumed"]) / max(took_s, 1e-9), 2
        )
    return measured


def _said_mpp(asked: ScanRequest, copy: LocalSlide) -> tuple[float | None, MppSource]:
    """What is believed where the slide does not say: the order, else the locator."""
    return (
        (copy.mpp, "locator")
        if asked.mpp is None and copy.mpp is not None
        else (asked.mpp, "order")
    )


def _find_in_tiles(
    job: Job, model: TileAlgorithm, slide: ReadableSlide, area: Area, watch: Progress
) -> tuple[Findings, Counts]:
    about = [job.order.request.parameters, _provenance(slide, job.copy)]
    return run_tiles(TileJob(model, slide, area, about), job.checkpoint, job.clock, watch)


def _report(
    job: Job, model: ReportAlgorithm, slide: ReadableSlide, area: Area, watch: Progress
) -> tuple[Findings, Counts]:
    watch.progress("classifying", 0, 1)
    with job.clock.stage("model"):
        return model.report(slide.frame, area), {}


_FINDERS: dict[str, Callable[..., tuple[Findings, Counts]]] = {
    "objects": _find_in_tiles,
    "tiles": _find_in_tiles,
    "report": _report,
}


def _provenance(slide: ReadableSlide, copy: LocalSlide) -> dict[str, object]:
    return {"reader": slide.reader, "slide_digest": copy.digest, "slide_bytes": copy.bytes}
