"""One scan, from a slide that is near to its result. Knows nothing of states, queues or destinations."""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import numpy as np

from broker.order import Order
from broker.request import ScanRequest
from worker import feed, tissue
from worker.algorithms.protocol import Algorithm, ReportAlgorithm, TileAlgorithm, TileClassifier
from worker.encode import overlay
from worker.merge import merged, owned
from worker.result import Result
from worker.slide import Slide
from worker.sources import Copy
from worker.tiles import cut
from worker.values import Area, Findings, Grid, Watch

BATCH_TILES = 2
SAMPLE_TILES = 12
"""Tiles that an algorithm is calibrated on, spread evenly over the tissue."""


@dataclass(frozen=True, slots=True)
class Done:
    """What classifying one scan came to."""

    result: Result
    overlay: bytes
    timings: dict[str, float]


def classify(order: Order, asked: ScanRequest, copy: Copy, model: Algorithm, threads: int, watch: Watch) -> Done:
    """Open the slide, find what there is to find in the area that was asked for, and draw it."""
    began = monotonic()
    with Slide.open(copy.path, asked.mpp) as slide:
        area = slide.area(asked.roi)
        findings, tiles = _FINDERS[model.card.output](model, slide, area, threads, watch)
        found = monotonic()
        result = Result(
            order.id, asked.id, model.card, dict(order.request.parameters), findings, _provenance(slide, copy)
        )
        watch.progress("drawing", 0, 1)
        picture = overlay.draw(slide.overview(area, overlay.MAX_PX), result)
    timings = {
        "classify_s": round(found - began, 3),
        "draw_s": round(monotonic() - found, 3),
        "tiles": tiles,
        "tiles_per_s": round(tiles / max(found - began, 1e-9), 2),
    }
    return Done(result, picture, timings)


def _find_in_tiles(model: TileAlgorithm, slide: Slide, area: Area, threads: int, watch: Watch) -> tuple[Findings, int]:
    watch.progress("tissue", 0, 1)
    grid = tissue.keep(slide, cut(area, slide.frame, model.card))
    total = len(grid.tiles)
    watch.progress("classifying", 0, total)
    classifier = _calibrated(model, slide, grid, threads, watch)
    parts = []
    for tiles, pixels in feed.batches(slide, grid, BATCH_TILES, threads):
        parts += [owned(found, tile, grid) for tile, found in zip(tiles, classifier.classify(pixels), strict=True)]
        watch.progress("classifying", len(parts), total)
    objects = merged(parts, grid)
    summary, headline = classifier.summarise(objects, slide.frame, area)
    return Findings(slide.frame, area, objects, summary, headline), total


def _calibrated(model: TileAlgorithm, slide: Slide, grid: Grid, threads: int, watch: Watch) -> TileClassifier:
    step = max(1, -(-len(grid.tiles) // SAMPLE_TILES))
    sample = Grid(grid.area, grid.tile_px, 0, grid.downsample_x, grid.downsample_y, grid.tiles[::step])
    batches = []
    for _, pixels in feed.batches(slide, sample, BATCH_TILES, threads):
        batches.append(pixels)
        watch.progress("calibrating", len(batches) * BATCH_TILES, len(sample.tiles))
    edge = grid.tile_px
    return model.calibrate(np.concatenate([np.empty((0, edge, edge, 3), np.uint8), *batches]))


def _report(model: ReportAlgorithm, slide: Slide, area: Area, _threads: int, watch: Watch) -> tuple[Findings, int]:
    watch.progress("classifying", 0, 1)
    return model.report(slide.frame, area), 1


_FINDERS: dict[str, Callable[..., tuple[Findings, int]]] = {"objects": _find_in_tiles, "report": _report}


def _provenance(slide: Slide, copy: Copy) -> dict[str, object]:
    return {"reader": slide.reader, "slide_digest": copy.digest, "slide_bytes": copy.bytes}
