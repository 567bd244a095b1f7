"""Slidelane's feed with nothing behind it: tiles decoded into the memory where an algorithm would find them."""

from pathlib import Path

from benchmarks.peers.runners.ours import grid_of
from benchmarks.peers.task import Task, run
from worker.geometry.frame import Pixels
from worker.inference import parallel_tiles
from worker.slides.sandbox.client import Sandbox

BATCH = 32


def main() -> None:
    """Run it."""
    task = Task.told()
    with Sandbox(task.threads).open(Path(task.slide)) as slide:
        grid = grid_of(task, slide.frame, task.config["patch_size_pixels"])

        def look(pixels: Pixels) -> int:
            return len(pixels)

        def classify() -> None:
            for _ in parallel_tiles.map_tiles(slide, grid, BATCH, look):
                pass

        classify()
        run(task, "Slidelane's feed", "slidelane", classify)


if __name__ == "__main__":
    main()
