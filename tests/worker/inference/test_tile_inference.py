"""A scan that goes on where it was lost is worked on as the first attempt did."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.scans import Dots, DotsClassifier, FrequentCheckpoint
from tests.support.slide_server import Listener
from tests.support.slides import a_slide
from worker.geometry.frame import Area, Pixels
from worker.inference.tile_inference import TileJob, run_tiles
from worker.progress import Stopwatch, StopWork
from worker.results.objects import Objects
from worker.slides.slide import Slide


class Sized(Dots):
    """Remembers how many tiles it was given at a time."""

    batch_tiles = 8

    def __init__(self) -> None:
        self.batches: list[int] = []

    def calibrate(self, samples: Pixels) -> "SizedClassifier":
        return SizedClassifier(super().calibrate(samples).darkest, batches=self.batches)


class SizedClassifier(DotsClassifier):
    def __init__(self, darkest: float, batches: list[int]) -> None:
        super().__init__(darkest)
        self._batches = batches

    def classify(self, batch: Pixels) -> list[Objects]:
        self._batches.append(len(batch))
        return super().classify(batch)


def test_the_rest_of_a_scan_comes_in_batches_of_the_same_size(tmp_path: Path) -> None:
    """Though few tiles are left for each thread: other batches may mean other bits, and the result must not change."""
    pixels = np.random.default_rng(1).integers(0, 160, (256, 256, 3), dtype=np.uint8)
    first, second = Sized(), Sized()
    with Slide.open(a_slide(tmp_path / "a.svs", pixels)) as slide:
        slide.threads = 4
        area = Area(0, 0, 256, 256)
        stopped = Listener(lambda done: done == 56)
        with pytest.raises(StopWork):
            run_tiles(
                TileJob(first, slide, area, "x"),
                FrequentCheckpoint(tmp_path / "1.0.1"),
                Stopwatch(),
                stopped,
            )
        counts = run_tiles(
            TileJob(second, slide, area, "x"),
            FrequentCheckpoint(tmp_path / "1.0.2"),
            Stopwatch(),
            Listener(),
        )[1]
    assert counts["tiles"] - counts["tiles_resumed"] == sum(second.batches) == 16
    assert set(first.batches) == set(second.batches) == {8}
