"""Slidelane's feed with nothing behind it: tiles decoded into the memory where an algorithm would find them."""

from pathlib import Path

from benchmarks.race.runners.ours import grid_of
from benchmarks.race.task import Task, run
from worker import feed
from worker.sandbox import Sandbox
from worker.values import Pixels

BATCH = 32


def main() -> None:
    """Run it."""
    task = Task.told()
    with Sandbox(task.threads).open(Path(task.slide)) as slide:
        grid = grid_of(task, slide.frame, task.config["patch_size_pixels"])

        def look(pixels: Pixels) -> int:
            return len(pixels)

        def classify() -> None:
            for _ in feed.worked(slide, grid, BATCH, look):
                pass

        classify()
        run(task, "Slidelane's feed", "slidelane", classify)


if __name__ == "__main__":
    main()
