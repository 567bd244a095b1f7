"""Measures, for each kind of output, a whole slide from opening to files beside a plain loop.

Ours, the loop with OpenSlide and the loop with our decoder take turns. Every contestant has the
same tiles, the same network on as many threads as cores, and processes that have started and have
seen some tiles before. What ours writes besides (results.json, objects.csv, the overlay, synced
files) counts. Core time is that of every process that takes part.
"""

import multiprocessing
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.comparison import Comparison
from benchmarks.outputs import core_time, loop, loop_files, networks, ours
from benchmarks.outputs.loop import Share
from benchmarks.peers import synthetic_slides
from worker.algorithms import registry
from worker.algorithms.registry import Settings
from worker.geometry.roi import resolve_roi
from worker.geometry.tile_grid import Grid, tile_grid
from worker.inference import tissue
from worker.process.cgroup_limits import granted_cores
from worker.slides.slide import Slide

Report = Callable[[str], None]
OURS: Final = "Slidelane"
BY_OPENSLIDE: Final = "loop with OpenSlide, a process for each core"
BY_OUR_DECODER: Final = "the same loop with our decoder"
LABELS: Final = {
    "tiles": "tiles",
    "mask": "mask",
    "labels": "objects, label maps",
    "centres": "objects, centres",
    "embeddings": "embeddings",
    "slide": "slide",
}


def measure(rounds: int, edge_px: int, report: Report) -> list[Comparison]:
    """Measure on a square slide of this edge, half of which is tissue."""
    with tempfile.TemporaryDirectory(prefix="slidelane-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        slide = folder / "slide.svs"
        synthetic_slides.draw(slide, edge_px, shared=True)
        settings = networks.save(folder)
        spawned = multiprocessing.get_context("spawn")
        cores = granted_cores()
        contest = _Contest(
            slide,
            settings,
            stack.enter_context(ProcessPoolExecutor(1, mp_context=spawned)),
            stack.enter_context(ProcessPoolExecutor(cores, mp_context=spawned)),
            cores,
            report,
        )
        rows: list[Comparison] = []
        for output in networks.WEIGHTS:
            rows += _rows(output, contest.runs(output, rounds))
        rows += _python_rows(contest.python_runs(rounds))
    return rows


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one contestant: tiles per second, and milliseconds of a core for each tile."""

    rate: float
    core_ms: float


Runs = Mapping[str, list[Run]]
"""The runs of each contestant, round by round."""


class _Contest:
    """One slide, and the processes of both sides."""

    def __init__(
        self,
        slide: Path,
        settings: Settings,
        worker: ProcessPoolExecutor,
        loops: ProcessPoolExecutor,
        cores: int,
        report: Report,
    ) -> None:
        self._slide = slide
        self._settings = settings
        self._worker = worker
        self._loops = loops
        self._cores = cores
        self._report = report

    def runs(self, output: str, rounds: int) -> Runs:
        """Measure one kind of output."""
        grid = self._grid(output)
        self._run_ours(output, ours.REGION)
        for is_openslide in (True, False):
            self._run_loop(output, grid, is_openslide=is_openslide, most_tiles=loop.BATCH)
        runs: dict[str, list[Run]] = {OURS: [], BY_OPENSLIDE: [], BY_OUR_DECODER: []}
        for number in range(1, rounds + 1):
            self._report(f"{output}, {len(grid.tiles):,} tiles, round {number} of {rounds}")
            runs[OURS].append(self._run_ours(output, None))
            runs[BY_OPENSLIDE].append(self._run_loop(output, grid, is_openslide=True))
            runs[BY_OUR_DECODER].append(self._run_loop(output, grid, is_openslide=False))
        return runs

    def python_runs(self, rounds: int) -> Runs:
        """Measure the same network as code of a site and as a model folder."""
        runs: dict[str, list[Run]] = {networks.PYTHON: [], "tiles": []}
        for name in runs:
            self._run_ours(name, ours.REGION)
        for number in range(1, 2 * rounds + 1):
            self._report(f"python beside weights, round {number} of {2 * rounds}")
            for name, taken in runs.items():
                taken.append(self._run_ours(name, None))
        return runs

    def _run_ours(self, algorithm: str, roi: Mapping[str, int] | None) -> Run:
        before_s = core_time.used_s()
        done = self._worker.submit(ours.run, self._settings, algorithm, self._slide, roi).result()
        rate = done.tiles / done.seconds
        core_ms = 1000 * (core_time.used_s() - before_s) / done.tiles
        if roi is None:
            steps = ", ".join(
                f"{name.removesuffix('_s')} {done.timings[name]:.2f}"
                for name in ("tissue_s", "read_s", "model_s", "merge_s", "classify_s")
            )
            self._report(
                f"  {OURS}: {done.found:,} found, {rate:,.0f} tiles/s, core time of a tile "
                f"{core_ms:.2f} ms; seconds: {steps}"
            )
        return Run(rate, core_ms)

    def _run_loop(
        self, output: str, grid: Grid, *, is_openslide: bool, most_tiles: int | None = None
    ) -> Run:
        network = output
        if output == "slide":
            network = "embeddings"
        with tempfile.TemporaryDirectory(prefix="slidelane-bench-") as scratch:
            corners = _corners(grid)[:most_tiles]
            whole = Share(
                str(self._slide),
                str(self._slide.with_name(network)),
                output,
                corners,
                grid.halo_px,
                is_openslide,
                scratch,
            )
            before_s = core_time.used_s()
            began = perf_counter()
            if output == "mask":
                shape = (int(grid.area.height), int(grid.area.width))
                loop.mask_files(Path(scratch), "w+", shape)
            found = list(self._loops.map(loop.run, loop.shares(whole, self._cores)))
            count = loop_files.write(whole, found)
            rate = len(corners) / (perf_counter() - began)
            core_ms = 1000 * (core_time.used_s() - before_s) / len(corners)
        if most_tiles is None:
            what = BY_OUR_DECODER
            if is_openslide:
                what = BY_OPENSLIDE
            self._report(
                f"  {what}: {count:,} found, {rate:,.0f} tiles/s, core time of a tile "
                f"{core_ms:.2f} ms"
            )
        return Run(rate, core_ms)

    def _grid(self, output: str) -> Grid:
        """Return the tiles that ours reads."""
        card = registry.card(output, self._settings[output])
        with Slide.open(self._slide) as slide:
            area = resolve_roi(None, slide.frame)
            return tissue.tissue_tiles(slide, tile_grid(area, slide.frame, card))


def _corners(grid: Grid) -> NDArray[np.int64]:
    """Return the corners of what is read of each tile, halo included, (N, 2), level-0 pixels."""
    tiles = grid.tiles
    places = np.stack([tiles.indices % tiles.columns, tiles.indices // tiles.columns], axis=1)
    steps = np.array([tiles.step_x, tiles.step_y])
    return np.rint(places * steps).astype(np.int64) - grid.halo_px


def _rows(output: str, runs: Runs) -> Iterator[Comparison]:
    for against in (BY_OPENSLIDE, BY_OUR_DECODER):
        yield from _pair(LABELS[output], runs[OURS], against, runs[against])


def _python_rows(runs: Runs) -> Iterator[Comparison]:
    what = "`python`, the network of tiles"
    return _pair(what, runs[networks.PYTHON], "`weights`, the same network", runs["tiles"])


def _pair(what: str, mine: list[Run], against: str, theirs: list[Run]) -> Iterator[Comparison]:
    """Yield the rows of speed and of core time."""
    rates = [one.rate for one in mine], [one.rate for one in theirs]
    yield _row(f"{what}, opened to files", "tiles/s", *rates, against)
    core_ms = [one.core_ms for one in mine], [one.core_ms for one in theirs]
    yield _row(f"{what}, core time of a tile", "ms", *core_ms, against)


def _row(what: str, unit: str, mine: list[float], theirs: list[float], against: str) -> Comparison:
    ratios = tuple(one / other for one, other in zip(mine, theirs, strict=True))
    return Comparison(what, unit, median(mine), against, median(theirs), ratios)
