"""Slidelane from a slide to probabilities: sandbox, feed of tiles, and the `weights` algorithm.

The tiles are those of the task. Finding tissue, merging and writing files are left out for all
contestants.
"""

from pathlib import Path

import numpy as np

from benchmarks.peers.task import Probabilities, Task, run
from broker.settings.config import AlgorithmSettings
from worker.algorithms import registry
from worker.algorithms.networks.trained_network import ScanNetwork, TrainedNetwork
from worker.geometry.frame import Area, Frame
from worker.geometry.tile_grid import Grid, Tiles
from worker.inference import parallel_tiles
from worker.inference.tile_inference import SAMPLE_TILES
from worker.slides.sandbox.client import Sandbox, SandboxedSlide


def main() -> None:
    """Run the benchmark."""
    task = Task.from_command_line()
    settings = {
        "race": AlgorithmSettings(kind="weights", folder=Path(task.model), tolerance=task.tolerance)
    }
    model = registry.load(
        "race", settings, {}, task.device, max_batch_bytes=parallel_tiles.MAX_BATCH_BYTES
    )
    if not isinstance(model, TrainedNetwork):
        raise TypeError(model)
    edge = model.card.tile_px
    with Sandbox(task.threads).open(Path(task.slide)) as slide:
        grid = grid_of(task, slide.frame, edge)
        scorer = _calibrated(model, slide, task)
        registry.set_compute_threads(1)

        def classify() -> Probabilities:
            done = parallel_tiles.map_tiles(slide, grid, model.batch_tiles, scorer.classify)
            return task.in_order(corners_of(grid), np.concatenate([batch.value for batch in done]))

        # The first batches of each thread warm it up, as in every runner.
        for _ in parallel_tiles.map_tiles(
            slide, grid_of(task, slide.frame, edge, 4 * model.batch_tiles), 4, scorer.classify
        ):
            pass
        run(task, "Slidelane", "slidelane", classify)


def _calibrated(model: TrainedNetwork, slide: SandboxedSlide, task: Task) -> ScanNetwork:
    """Calibrate on some tiles, as for a scan. Raise `RuntimeError` without half precision."""
    edge = model.card.tile_px
    samples = np.empty((SAMPLE_TILES, edge, edge, 3), np.uint8)
    corners = task.corners[np.linspace(0, len(task.corners) - 1, SAMPLE_TILES).astype(int)]
    slide.fill_tiles(samples, [(float(x), float(y)) for x, y in corners], 1.0, 1.0)
    scorer = model.calibrate(samples)
    if task.tolerance and scorer.precision == "float32":
        raise RuntimeError(
            f"half precision is not there, or moves a probability by more than {task.tolerance}"
        )
    return scorer


def grid_of(task: Task, frame: Frame, edge: int, most: int | None = None) -> Grid:
    """Return at most so many tiles of the task as a grid at full resolution."""
    columns = -(-frame.width // edge)
    numbers = np.sort(task.corners[:, 1] // edge * columns + task.corners[:, 0] // edge)[:most]
    area = Area(0, 0, frame.width, frame.height)
    return Grid(area, edge, 0, 1.0, 1.0, Tiles(0, 0, edge, edge, columns, numbers))


def corners_of(grid: Grid) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
    """Return the corners of its tiles, (N, 2): x, y in level-0 pixels."""
    numbers = grid.tiles.indices
    edge = grid.tile_px
    return np.stack([numbers % grid.tiles.columns, numbers // grid.tiles.columns], axis=1) * edge


if __name__ == "__main__":
    main()
