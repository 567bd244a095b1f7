"""Runs one scan from a slide to saved results, in this process or in one that is killed at a tile.

`python -m tests.support.scans ALGORITHM SLIDE FOLDER FENCE KILLED_AT` prints what the pipeline
measured, as JSON.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from broker.orders.algorithm_card import AlgorithmCard, ClassCard
from broker.orders.order import Order, OrderState
from broker.orders.request import OrderRequest
from broker.settings.config import AlgorithmSettings
from tests.support.paths import ROOT
from worker.algorithms import registry
from worker.algorithms.interface import Algorithm
from worker.algorithms.output_settings import ObjectsSettings
from worker.geometry.frame import Area, Frame, Pixels
from worker.inference import pipeline
from worker.inference.checkpoint import Checkpoint
from worker.inference.parallel_tiles import MAX_BATCH_BYTES
from worker.progress import Stopwatch
from worker.results import result_folder
from worker.results.objects import Objects
from worker.slide_cache.local_slide import LocalSlide
from worker.slides.sandbox.client import Sandbox

NEVER = -1
KI67 = {"ki67": AlgorithmSettings(kind="ki67")}
CARD = AlgorithmCard(
    name="dots",
    version="1",
    digest="0" * 64,
    title="Dots",
    description="Finds dark dots.",
    output="objects",
    mpp=0.5,
    tile_px=32,
    halo_px=8,
    parameters={},
    classes=(ClassCard(name="dot", color="#000000", annotation_type="dot"),),
)


class Dots:
    """An algorithm that finds dark dots of a few pixels; the threshold depends on the samples."""

    works_on = "tiles"
    card = CARD
    settings = ObjectsSettings()
    batch_tiles = 2

    def calibrate(self, samples: Pixels) -> "DotsClassifier":
        return DotsClassifier(float(samples.mean()) / 2 if len(samples) else 0.0)


@dataclass
class DotsClassifier:
    """The algorithm for one scan; `tiles` counts the tiles that were classified."""

    darkest: float
    tiles: int = 0

    def classify(self, batch: Pixels) -> list[Objects]:
        self.tiles += len(batch)
        return [self._dots(tile) for tile in batch]

    def _dots(self, tile: Pixels) -> Objects:
        dark = (tile.mean(axis=2) < self.darkest).astype(np.uint8)
        count, _, _, centres = cv2.connectedComponentsWithStats(dark)
        centres = centres[1:] + 0.5
        square = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) / 3
        rings = tuple(centre + square for centre in centres)
        return Objects(centres, rings, np.zeros(count - 1, np.int64), np.full(count - 1, 1 / 3))

    def summarise(
        self, counts: Sequence[int], frame: Frame, area: Area
    ) -> tuple[dict[str, Any], str]:
        return {"dots": counts[0], "darkest": self.darkest}, f"{counts[0]} dots"


class FrequentCheckpoint(Checkpoint):
    """Is due at every third batch, whatever the time, so that objects lie behind the last mark."""

    batches = 0

    def due(self) -> bool:
        self.batches += 1
        return self.batches % 3 == 0


@dataclass(frozen=True)
class Killer:
    """Progress that kills this process, as the kernel does, once so many tiles are done."""

    at: int

    def report(self, stage: str, done: int, total: int) -> None:
        if stage == "classifying" and done == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def model_of(name: str) -> Algorithm:
    if name == "dots":
        return Dots()
    model = registry.load(name, KI67, {}, "cpu", max_batch_bytes=MAX_BATCH_BYTES)
    model.card = model.card.model_copy(update={"tile_px": 256})
    return model


def scan(
    model: Algorithm, slide: Path, folder: Path, fence: int, progress: Any, roi: Any = None
) -> dict[str, float]:
    """Make attempt number `fence` at one scan of the slide; return what was measured.

    The results are saved in `folder`/FENCE.
    """
    source = {"id": "1", "source": {"type": "path", "path": str(slide)}, "roi": roi}
    request = OrderRequest.model_validate(
        {"algorithm": model.card.name, "scans": [source]}, strict=False
    )
    order = Order(
        id="1",
        state=OrderState.RUNNING,
        request=request,
        queue="gpu",
        created_at=1,
        updated_at=1,
        expires_at=9,
        scans=(),
    )
    checkpoint = FrequentCheckpoint(folder / "unfinished" / f"1.0.{fence}")
    produced = {"at": "2026-11-21T07:00:00+00:00"}
    job = pipeline.ScanJob(order, request.scans[0], LocalSlide(slide, "0" * 64, 1), produced)
    clock = Stopwatch()
    classified = pipeline.classify(job, model, checkpoint, Sandbox(threads=1), clock, progress)
    result_folder.save(folder / str(fence), classified.result, classified.overlay)
    clock.add("draw", classified.overlay.draw_s)
    return classified.timings | clock.timings


def scanned_elsewhere(
    algorithm: str, slide: Path, folder: Path, fence: int, killed_at: int = NEVER
) -> dict[str, Any]:
    """Do the same in a process of its own; return {} where it was killed."""
    arguments = [algorithm, str(slide), str(folder), str(fence), str(killed_at)]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.support.scans", *arguments],
        capture_output=True,
        check=False,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    expected = 0
    if killed_at != NEVER:
        expected = -signal.SIGKILL
    assert ended.returncode == expected, ended.stderr
    if not ended.stdout:
        return {}
    return dict(json.loads(ended.stdout))


if __name__ == "__main__":
    name, slide, folder, fence, killed_at = sys.argv[1:]
    killer = Killer(int(killed_at))
    measured = scan(model_of(name), Path(slide), Path(folder), int(fence), killer)
    print(json.dumps(measured))
