"""Slidelane's feed of tiles without an algorithm: tiles are decoded into shared memory."""

from pathlib import Path

from benchmarks.peers.runners.ours import grid_of
from benchmarks.peers.task import Task, run
from worker.geometry.frame import Pixels
from worker.inference import parallel_tiles
from worker.slides.sandbox.client import Sandbox

BATCH = 32


def main() -> None:
    """Run the benchmark."""
    task = Task.from_command_line()
    with Sandbox(task.threads).open(Path(task.slide)) as slide:
        grid = grid_of(task, slide.frame, task.config["patch_size_pixels"])

        def count(pixels: Pixels) -> int:
            return len(pixels)

        def classify() -> None:
            for _ in parallel_tiles.map_tiles(slide, grid, BATCH, count):
                pass

        classify()
        run(task, "Slidelane's feed", "slidelane", classify)


if __name__ == "__main__":
    main()
