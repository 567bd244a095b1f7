"""One scan, from a slide that is near to its result. Knows nothing of states, queues or destinations."""

import hashlib
import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from time import monotonic

import numpy as np

from broker.order import Order
from broker.request import ScanRequest
from worker import feed, tissue
from worker.algorithms.protocol import Algorithm, ReportAlgorithm, TileAlgorithm, TileClassifier
from worker.areas import area_of
from worker.checkpoint import Checkpoint, Point
from worker.encode import overlay
from worker.merge import Merger, joined
from worker.result import Result
from worker.sandbox import Sandbox
from worker.sources import Copy
from worker.spool import Spool
from worker.tiles import cut
from worker.timing import Stopwatch
from worker.values import Area, Findings, Grid, MppSource, Readable, Watch

Counts = dict[str, float]
BATCH_TILES = 2
SAMPLE_TILES = 12
"""Tiles that an algorithm is calibrated on, spread evenly over the tissue."""


@dataclass(frozen=True, slots=True)
class Job:
    """One scan to classify: what was asked, the slide that is near, and where its unfinished findings lie."""

    order: Order
    asked: ScanRequest
    copy: Copy
    checkpoint: Checkpoint
    clock: Stopwatch = field(default_factory=Stopwatch)


@dataclass(frozen=True, slots=True)
class Done:
    """What classifying one scan came to, with what the clock has measured so far and some counts in `timings`."""

    result: Result
    overlay: bytes
    timings: dict[str, float]


def classify(job: Job, model: Algorithm, sandbox: Sandbox, watch: Watch) -> Done:
    """Open the slide, find what there is to find in the area that was asked for, and draw it."""
    began, order, asked, clock = monotonic(), job.order, job.asked, job.clock
    with ExitStack() as opened:
        with clock.stage("open"):
            slide = opened.enter_context(sandbox.open(job.copy.path, *_said_mpp(asked, job.copy)))
        area = area_of(asked.roi, slide.frame)
        findings, counts = _FINDERS[model.card.output](job, model, slide, area, watch)
        took_s = monotonic() - began
        parameters, provenance = dict(order.request.parameters), _provenance(slide, job.copy)
        result = Result(order.id, asked.id, model.card, parameters, findings, provenance)
        watch.progress("drawing", 0, 1)
        with clock.stage("read"):
            view = slide.overview(area, overlay.MAX_PX)
        with clock.stage("draw"):
            picture = overlay.draw(view, result)
    return Done(result, picture, _measured(counts, took_s) | clock.timings)


def _measured(counts: Counts, took_s: float) -> dict[str, float]:
    measured = {"classify_s": round(took_s, 3), **counts}
    if "tiles" in counts:
        measured["tiles_per_s"] = round((counts["tiles"] - counts["tiles_resumed"]) / max(took_s, 1e-9), 2)
    return measured


def _said_mpp(asked: ScanRequest, copy: Copy) -> tuple[float | None, MppSource]:
    """What is believed where the slide does not say: the order, else the locator."""
    return (copy.mpp, "locator") if asked.mpp is None and copy.mpp is not None else (asked.mpp, "order")


def _find_in_tiles(
    job: Job, model: TileAlgorithm, slide: Readable, area: Area, watch: Watch
) -> tuple[Findings, Counts]:
    watch.progress("tissue", 0, 1)
    with job.clock.stage("tissue"):
        grid = tissue.keep(slide, cut(area, slide.frame, model.card))
    classifier = _calibrated(job.clock, model, slide, grid, watch)
    # an empty summary states what was calibrated: findings by other thresholds must not be mixed in
    empty = classifier.summarise([0] * len(model.card.classes), slide.frame, area)
    spool, resumed = _found(job, _work(job, model, slide, grid, empty), classifier, slide, grid, watch)
    summary, headline = classifier.summarise(spool.counts(len(model.card.classes)), slide.frame, area)
    read_bytes = (len(grid.tiles) - resumed) * 3 * grid.read_px**2
    counts: Counts = {"tiles": len(grid.tiles), "tiles_resumed": resumed, "read_bytes": read_bytes}
    return Findings(slide.frame, area, spool, summary, headline), counts


def _found(
    job: Job, work: str, classifier: TileClassifier, slide: Readable, grid: Grid, watch: Watch
) -> tuple[Spool, int]:
    """All objects of the grid's tiles, and how many of these an earlier attempt that was lost had done."""
    clock, checkpoint, total = job.clock, job.checkpoint, len(grid.tiles)
    with clock.stage("merge"):
        spool, point = checkpoint.begin(work, total)
    merger, done = Merger(grid, point.seams), point.tiles
    watch.progress("classifying", done, total)
    rest = replace(grid, tiles=grid.tiles[done:])
    for tiles, pixels in clock.waited("read", feed.batches(slide, rest, BATCH_TILES)):
        with clock.stage("model"):
            found = zip(classifier.classify(pixels), tiles, strict=True)
        with clock.stage("merge"):
            spool.append(joined([merger.add(*one) for one in found]))
            done += len(tiles)
            if checkpoint.due():
                checkpoint.mark(spool, Point(work, done, len(spool), merger.seams))
        watch.progress("classifying", done, total)
    return spool, point.tiles


def _work(job: Job, model: TileAlgorithm, slide: Readable, grid: Grid, empty: object) -> str:
    """A digest of all that the findings depend on, batches included: two attempts with the same one may be joined."""
    about = (model.card.model_dump(mode="json"), job.order.request.parameters, slide.frame.as_dict(), BATCH_TILES)
    told = json.dumps([about, empty, _provenance(slide, job.copy), grid.area.as_dict(), _code()], sort_keys=True)
    tiles = np.array([(tile.index, tile.x, tile.y) for tile in grid.tiles])
    return hashlib.sha256(told.encode() + tiles.tobytes()).hexdigest()


@cache
def _code() -> str:
    """A digest of the bench itself: while it is being replaced, old and new workers take over from one another."""
    here = Path(__file__).parent
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in sorted(here.rglob("*.py")))).hexdigest()


def _calibrated(clock: Stopwatch, model: TileAlgorithm, slide: Readable, grid: Grid, watch: Watch) -> TileClassifier:
    step = max(1, -(-len(grid.tiles) // SAMPLE_TILES))
    sample = Grid(grid.area, grid.tile_px, 0, grid.downsample_x, grid.downsample_y, grid.tiles[::step])
    batches = []
    for _, pixels in clock.waited("read", feed.batches(slide, sample, BATCH_TILES)):
        batches.append(pixels)
        watch.progress("calibrating", len(batches) * BATCH_TILES, len(sample.tiles))
    edge = grid.tile_px
    with clock.stage("calibrate"):
        return model.calibrate(np.concatenate([np.empty((0, edge, edge, 3), np.uint8), *batches]))


def _report(job: Job, model: ReportAlgorithm, slide: Readable, area: Area, watch: Watch) -> tuple[Findings, Counts]:
    watch.progress("classifying", 0, 1)
    with job.clock.stage("model"):
        return model.report(slide.frame, area), {}


_FINDERS: dict[str, Callable[..., tuple[Findings, Counts]]] = {"objects": _find_in_tiles, "report": _report}


def _provenance(slide: Readable, copy: Copy) -> dict[str, object]:
    return {"reader": slide.reader, "slide_digest": copy.digest, "slide_bytes": copy.bytes}
