"""Slidelane's own way from a slide to probabilities: the sandbox that decodes, the feed, the `weights` algorithm.

The tiles are those of the task; tissue, merging and files are left out for everybody alike.
"""

from pathlib import Path

import numpy as np

from benchmarks.race.task import Probabilities, Task, run
from broker.config import AlgorithmSettings
from worker import feed
from worker.algorithms import registry
from worker.algorithms.weights import TrainedNetwork
from worker.grid import Grid, Tiles
from worker.sandbox import Sandbox
from worker.values import Area, Frame


def main() -> None:
    """Run it."""
    task = Task.told()
    settings = {"race": AlgorithmSettings(kind="weights", folder=Path(task.model))}
    model = registry.load("race", settings, {}, "auto")
    if not isinstance(model, TrainedNetwork):
        raise TypeError(model)
    edge = model.card.tile_px
    scorer = model.calibrate(np.empty((0, edge, edge, 3), np.uint8))
    with Sandbox(task.threads).open(Path(task.slide)) as slide:
        grid = grid_of(task, slide.frame, edge)
        registry.compute_threads(1)

        def classify() -> Probabilities:
            done = feed.worked(slide, grid, model.batch_tiles, scorer.classify)
            return task.in_order(corners_of(grid), np.concatenate([batch.value for batch in done]))

        for _ in feed.worked(slide, grid_of(task, slide.frame, edge, 4 * model.batch_tiles), 4, scorer.classify):
            pass  # the first batches of each thread, as everybody warms up
        run(task, "Slidelane", "slidelane", classify)


def grid_of(task: Task, frame: Frame, edge: int, most: int | None = None) -> Grid:
    """The task's tiles, at most so many, as a grid at full resolution."""
    columns = -(-frame.width // edge)
    numbers = np.sort(task.corners[:, 1] // edge * columns + task.corners[:, 0] // edge)[:most]
    area = Area(0, 0, frame.width, frame.height)
    return Grid(area, edge, 0, 1.0, 1.0, Tiles(0, 0, edge, edge, columns, numbers))


def corners_of(grid: Grid) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
    """Where its tiles are, (N, 2): x, y."""
    numbers, edge = grid.tiles.indices, grid.tile_px
    return np.stack([numbers % grid.tiles.columns, numbers // grid.tiles.columns], axis=1) * edge


if __name__ == "__main__":
    main()
