"""From the tiles of an area to what is found on them: tile by tile through the algorithm, each batch kept as it comes.

Owns how a scan goes on after it was lost. Knows nothing of states, queues or destinations.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from worker.algorithms import registry
from worker.algorithms.interface import TileAlgorithm, TileClassifier
from worker.geometry.frame import Area
from worker.geometry.tile_grid import Grid, tile_grid
from worker.inference import parallel_tiles, tissue
from worker.inference.checkpoint import Checkpoint, Point
from worker.inference.merge import SeamMerger, SeamState, TileSquares, joined
from worker.progress import Progress, Stopwatch
from worker.results.object_store import ObjectStore
from worker.results.objects import CHUNK, Objects
from worker.results.result import Findings
from worker.slides.reader import ReadableSlide

Counts = dict[str, float]
SAMPLE_TILES = 12
"""Tiles that an algorithm is calibrated on, spread evenly over the tissue."""


class Placement(Protocol):
    """From an algorithm's answers for tiles, in their order, to objects in level-0 pixels."""

    @property
    def seams(self) -> SeamState:
        """What must be known to go on after the tiles so far."""

    def place(self, tiles: Any, found: Any) -> Objects:
        """The objects of these tiles."""


_PLACERS: Final[dict[str, Callable[[Grid, SeamState], Placement]]] = {
    "objects": SeamMerger,
    "tiles": TileSquares,
}


@dataclass(frozen=True, slots=True)
class TileJob:
    """A model and the area of an open slide that it looks at; `about` is all else that the findings hang on."""

    model: TileAlgorithm
    slide: ReadableSlide
    area: Area
    about: Any


def run_tiles(
    search: TileJob, checkpoint: Checkpoint, clock: Stopwatch, watch: Progress
) -> tuple[Findings, Counts]:
    """All that there is to find in the area's tissue; the spool that holds it lies in the checkpoint's folder."""
    model, slide, area = search.model, search.slide, search.area
    watch.progress("tissue", 0, 1)
    with clock.stage("tissue"):
        grid = tissue.keep(slide, tile_grid(area, slide.frame, model.card))
    classifier = _calibrated(clock, model, slide, grid, watch)
    # an empty summary states what was calibrated: findings by other thresholds must not be mixed in
    empty = classifier.summarise([0] * len(model.card.classes), slide.frame, area)
    with clock.stage("merge"):
        spool, point = checkpoint.begin(_work(search, grid, empty), len(grid.tiles))
    _found(search, classifier, grid, _Kept(checkpoint, spool, point, clock), watch)
    summary, headline = classifier.summarise(
        spool.counts(len(model.card.classes)), slide.frame, area
    )
    read_bytes = (len(grid.tiles) - point.tiles) * 3 * grid.read_px**2
    counts: Counts = {
        "tiles": len(grid.tiles),
        "tiles_resumed": point.tiles,
        "read_bytes": read_bytes,
    }
    return Findings(slide.frame, area, spool, summary, headline), counts


@dataclass(slots=True)
class _Kept:
    """Where findings go, and how far an earlier attempt that was lost had come."""

    checkpoint: Checkpoint
    spool: ObjectStore
    point: Point
    clock: Stopwatch
    _in_hand: list[Objects] = field(default_factory=list)

    def add(self, objects: Objects, tiles: int, placer: Placement) -> None:
        """Some at a time, for a tile may hold a single one."""
        self._in_hand.append(objects)
        due = self.checkpoint.due()
        if due or sum(map(len, self._in_hand)) >= CHUNK:
            self.flush()
        if due:
            self.checkpoint.mark(
                self.spool, Point(self.point.work, tiles, len(self.spool), placer.seams)
            )

    def flush(self) -> None:
        """All objects so far are in the spool."""
        self.spool.append(joined(self._in_hand))
        self._in_hand.clear()


def _found(
    search: TileJob, classifier: TileClassifier, grid: Grid, kept: _Kept, watch: Progress
) -> None:
    placer = _PLACERS[search.model.card.output](grid, kept.point.seams)
    done, total, clock = kept.point.tiles, len(grid.tiles), kept.clock
    rest = replace(grid, tiles=grid.tiles[done:])
    # as for the whole grid, also where only the rest of it is left: a network may answer other batches in other bits
    batch_tiles = _batch_tiles(search, total)
    registry.compute_threads(
        max(1, search.slide.threads // parallel_tiles.workers(search.slide, total, batch_tiles))
    )
    threads = parallel_tiles.workers(search.slide, len(rest.tiles), batch_tiles)
    watch.progress("classifying", done, total)
    for batch in parallel_tiles.map_tiles(search.slide, rest, batch_tiles, classifier.classify):
        clock.add("read", batch.read_s / threads)
        clock.add("model", batch.work_s / threads)
        with clock.stage("merge"):
            done += len(batch.tiles)
            kept.add(placer.place(batch.tiles, batch.value), done, placer)
        watch.progress("classifying", done, total)
    with clock.stage("merge"):
        kept.flush()


def _batch_tiles(search: TileJob, tiles: int) -> int:
    """As many as the model likes, but of a small region every thread gets its share."""
    return max(1, min(search.model.batch_tiles, -(-tiles // search.slide.threads)))


def _work(search: TileJob, grid: Grid, empty: object) -> str:
    """A digest of all that the findings depend on, batches included: two attempts with the same one may be joined."""
    frame, batch_tiles = search.slide.frame.as_dict(), _batch_tiles(search, len(grid.tiles))
    about = (search.model.card.model_dump(mode="json"), search.about, frame, batch_tiles)
    told = json.dumps([about, empty, grid.area.as_dict(), _code()], sort_keys=True)
    return hashlib.sha256(told.encode() + grid.tiles.digest()).hexdigest()


@cache
def _code() -> str:
    """A digest of the bench itself: while it is being replaced, old and new workers take over from one another."""
    here = Path(__file__).parents[1]
    return hashlib.sha256(
        b"\0".join(path.read_bytes() for path in sorted(here.rglob("*.py")))
    ).hexdigest()


def _calibrated(
    clock: Stopwatch, model: TileAlgorithm, slide: ReadableSlide, grid: Grid, watch: Progress
) -> TileClassifier:
    step = max(1, -(-len(grid.tiles) // SAMPLE_TILES))
    edge = grid.tile_px
    sample = Grid(grid.area, edge, 0, grid.downsample_x, grid.downsample_y, grid.tiles[::step])
    samples = np.empty((len(sample.tiles), edge, edge, 3), np.uint8)
    with clock.stage("read"):
        for number, batch in enumerate(parallel_tiles.map_tiles(slide, sample, 1, np.copy)):
            samples[number] = batch.value[0]
            watch.progress("calibrating", number + 1, len(samples))
    registry.compute_threads(slide.threads)
    with clock.stage("calibrate"):
        return model.calibrate(samples)
