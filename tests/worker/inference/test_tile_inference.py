"""A scan that goes on where it was lost is processed as in the first attempt."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.support.paths import ROOT
from tests.support.scans import Dots, DotsClassifier, FrequentCheckpoint
from tests.support.slide_server import Listener
from tests.support.slides import a_slide
from worker.geometry.frame import Area, Pixels
from worker.inference.tile_inference import WORKER_FOLDER, TileJob, run_tiles, source_digest
from worker.progress import Stopwatch, StopWork
from worker.results.objects import Objects
from worker.slides.slide import Slide


class Sized(Dots):
    """Remembers how many tiles it got at a time."""

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
    """Although few tiles are left for each thread: other batches may mean other bits."""
    pixels = np.random.default_rng(1).integers(0, 160, (256, 256, 3), dtype=np.uint8)
    first = Sized()
    second = Sized()
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


def test_a_change_in_any_file_of_the_worker_changes_its_digest(tmp_path: Path) -> None:
    """Also in its readers and in its algorithms: two versions must not share one result."""
    package = tmp_path / "worker"
    shutil.copytree(WORKER_FOLDER, package, ignore=shutil.ignore_patterns("__pycache__"))
    digests = {source_digest(package)}
    sources = sorted(package.rglob("*.py"))
    for path in sources:
        original = path.read_bytes()
        path.write_bytes(original + b"# changed")
        digests.add(source_digest(package))
        path.write_bytes(original)
    assert len(digests) == 1 + len(sources)
    assert source_digest(package) == source_digest(WORKER_FOLDER)


def test_the_digest_covers_the_whole_package() -> None:
    """Not only the package that computes it."""
    assert WORKER_FOLDER == ROOT / "worker"
