"""Runs an algorithm on the tiles of an area and stores what it finds, batch by batch.

Decides from where a scan goes on after its worker was lost. Knows no states of orders, no queues
and no destinations.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from broker.orders.order import ScanWarning
from worker.algorithms import registry
from worker.algorithms.interface import (
    OwnFigures,
    ShareClassifier,
    TileAlgorithm,
    TileClassifier,
)
from worker.geometry.frame import Area, Pixels
from worker.geometry.tile_grid import Grid, Tile, tile_grid
from worker.inference import parallel_tiles, tissue
from worker.inference.checkpoint import Checkpoint, Point
from worker.inference.merging.create import create_merger
from worker.inference.merging.merger import AnswerMerger, Merged, StatefulMerger
from worker.inference.quality.inspection import NO_STAIN_STATED, StainRequest, inspect
from worker.progress import Progress, Stopwatch
from worker.results.object_store import ObjectStore
from worker.results.objects import CHUNK, Objects, joined
from worker.results.result import Findings
from worker.slides.reader import ReadableSlide

Counts = dict[str, float]
"""Counts for the record of a scan: `tiles`, `tiles_resumed` and `read_bytes`."""
SAMPLE_TILES = 12
"""Tiles that an algorithm is calibrated on, spread evenly over the tissue."""
WORKER_FOLDER: Final = Path(__file__).parents[1]
"""The package `worker`: its source decides whether two attempts may be joined."""


@dataclass(frozen=True, slots=True)
class TileJob:
    """An algorithm and the area of an open slide that it runs on.

    `inputs`, fit for JSON, is everything else that the findings depend on. `stain` is what the
    order says about the slide's stain.
    """

    algorithm: TileAlgorithm
    slide: ReadableSlide
    area: Area
    inputs: Any
    stain: StainRequest = NO_STAIN_STATED


def run_tiles(
    job: TileJob, checkpoint: Checkpoint, clock: Stopwatch, progress: Progress
) -> tuple[Findings, Counts, tuple[ScanWarning, ...]]:
    """Return all findings in the tissue of the area, counts for the record, and warnings.

    Goes on where an earlier attempt at the same work was lost. The objects are stored in the
    checkpoint's folder.

    Raises OrderError: `stain_unexpected` where the stain is clearly none of the algorithm's.
    """
    algorithm = job.algorithm
    slide = job.slide
    classes = len(algorithm.card.classes)
    progress.report("tissue", 0, 1)
    with clock.measure("tissue"):
        grid = tile_grid(job.area, slide.frame, algorithm.card)
        if algorithm.card.tissue_only:
            grid = tissue.tissue_tiles(slide, grid)
    samples = _read_samples(slide, grid, clock, progress)
    registry.set_compute_threads(slide.threads)
    with clock.measure("calibrate"):
        warnings = inspect(samples, grid, algorithm.card, job.stain)
        classifier = algorithm.calibrate(samples)
    # The summary of no objects states the calibrated thresholds. Objects that were found with
    # other thresholds must not be joined with ours.
    thresholds = classifier.summarise([0] * classes, slide.frame, job.area)
    with clock.measure("merge"):
        digest = work_digest(job, grid, thresholds)
        store, resumed_at = checkpoint.begin(digest, len(grid.tiles))
    merger = create_merger(
        algorithm, classifier, slide.frame, grid, checkpoint.merger_state, progress
    )
    writer = _ObjectWriter(checkpoint, store, resumed_at, merger)
    _classify_tiles(job, classifier, grid, writer, clock, progress)
    with clock.measure("merge"):
        merged = merger.finish(store)
    findings = _findings(job, classifier, merged)
    counts: Counts = {
        "tiles": len(grid.tiles),
        "tiles_resumed": resumed_at.tiles,
        "read_bytes": (len(grid.tiles) - resumed_at.tiles) * 3 * grid.read_px**2,
    }
    return findings, counts, (*warnings, *merged.warnings)


def _findings(job: TileJob, classifier: TileClassifier, merged: Merged) -> Findings:
    """Return the findings with the code's own summary, the merger's, or the algorithm's."""
    frame = job.slide.frame
    counts = merged.counts
    if counts is None:
        counts = merged.objects.counts(len(job.algorithm.card.classes))
    if isinstance(classifier, OwnFigures):
        own = classifier.own_summary(counts)
        if own is not None:
            summary, headline = own
            return Findings(frame, job.area, merged.objects, summary, headline, merged.embeddings)
    summary, headline = classifier.summarise(counts, frame, job.area)
    if merged.summary is not None:
        precision = summary.get("precision")
        summary = dict(merged.summary)
        if precision is not None:
            summary.setdefault("precision", precision)
        return Findings(
            frame, job.area, merged.objects, summary, merged.headline, merged.embeddings
        )
    return Findings(frame, job.area, merged.objects, summary, merged.headline or headline)


def work_digest(job: TileJob, grid: Grid, thresholds: object) -> str:
    """Return a digest of everything that the findings depend on, the size of batches included.

    Two attempts with the same digest may be joined.
    """
    batch_tiles = _batch_tiles(job.algorithm, job.slide, len(grid.tiles))
    depends_on = [
        job.algorithm.card.model_dump(mode="json"),
        job.inputs,
        job.slide.frame.as_dict(),
        batch_tiles,
        thresholds,
        grid.area.as_dict(),
        _worker_digest(),
    ]
    text = json.dumps(depends_on, sort_keys=True)
    return hashlib.sha256(text.encode() + grid.tiles.digest()).hexdigest()


def source_digest(folder: Path) -> str:
    """Return a digest of all Python files below the folder."""
    sources = [path.read_bytes() for path in sorted(folder.rglob("*.py"))]
    return hashlib.sha256(b"\0".join(sources)).hexdigest()


@cache
def _worker_digest() -> str:
    """Return the digest of this worker's source.

    During an update old and new workers take over scans from one another; a scan must not be
    joined from the findings of two versions.
    """
    return source_digest(WORKER_FOLDER)


class _ObjectWriter:
    """Stores the objects of finished tiles and marks in the checkpoint how far the scan is."""

    def __init__(
        self, checkpoint: Checkpoint, store: ObjectStore, resumed_at: Point, merger: AnswerMerger
    ) -> None:
        self._checkpoint = checkpoint
        self._store = store
        self._work = resumed_at.work
        self._merger = merger
        self._pending: list[Objects] = []
        self.tiles_done = resumed_at.tiles

    def add(self, tiles: Sequence[Tile], answers: Any) -> None:
        """Merge an algorithm's answers for the next tiles.

        Objects are written many at a time, for a tile may hold a single one.
        """
        self._pending.append(self._merger.place(tiles, answers))
        self.tiles_done += len(tiles)
        is_due = self._checkpoint.due()
        if is_due or sum(map(len, self._pending)) >= CHUNK:
            self.flush()
        if is_due:
            objects = len(self._store)
            state = b""
            if isinstance(self._merger, StatefulMerger):
                state = self._merger.state()
            point = Point(self._work, self.tiles_done, objects, self._merger.seams, len(state))
            self._checkpoint.mark(self._store, point, state)

    def flush(self) -> None:
        """Write all objects so far into the store."""
        self._store.append(joined(self._pending))
        self._pending.clear()


def _classify_tiles(
    job: TileJob,
    classifier: TileClassifier,
    grid: Grid,
    writer: _ObjectWriter,
    clock: Stopwatch,
    progress: Progress,
) -> None:
    """Classify the tiles that are left and write their objects."""
    total = len(grid.tiles)
    tiles_left = grid.tiles[writer.tiles_done :]
    # Of the size for the whole grid, also where only the rest of it is left: a network may answer
    # other batches in other bits.
    batch_tiles = _batch_tiles(job.algorithm, job.slide, total)
    threads_of_all = parallel_tiles.workers(job.slide, total, batch_tiles)
    registry.set_compute_threads(max(1, job.slide.threads // threads_of_all))
    threads = parallel_tiles.workers(job.slide, len(tiles_left), batch_tiles)
    progress.report("classifying", writer.tiles_done, total)
    function: Callable[[Pixels], Any] = classifier.classify
    by_share = False
    if isinstance(classifier, ShareClassifier):
        function = partial(classifier.classify_share, batch_tiles=batch_tiles)
        by_share = True
    for batch in parallel_tiles.map_tiles(
        job.slide, replace(grid, tiles=tiles_left), batch_tiles, function, by_share=by_share
    ):
        clock.add("read", batch.read_s / threads)
        clock.add("model", batch.compute_s / threads)
        with clock.measure("merge"):
            writer.add(batch.tiles, batch.value)
        progress.report("classifying", writer.tiles_done, total)
    with clock.measure("merge"):
        writer.flush()


def _read_samples(slide: ReadableSlide, grid: Grid, clock: Stopwatch, progress: Progress) -> Pixels:
    """Return the cores of some tiles of the grid, (N, tile_px, tile_px, 3)."""
    step = max(1, -(-len(grid.tiles) // SAMPLE_TILES))
    sample = replace(grid, halo_px=0, tiles=grid.tiles[::step])
    samples = np.empty((len(sample.tiles), grid.tile_px, grid.tile_px, 3), np.uint8)
    with clock.measure("read"):
        for number, batch in enumerate(parallel_tiles.map_tiles(slide, sample, 1, np.copy)):
            samples[number] = batch.value[0]
            progress.report("calibrating", number + 1, len(samples))
    return samples


def _batch_tiles(algorithm: TileAlgorithm, slide: ReadableSlide, tiles: int) -> int:
    """Return the batch that the algorithm prefers, or less, so that every thread has a share."""
    return max(1, min(algorithm.batch_tiles, -(-tiles // slide.threads)))
