"""Runs code of the kind `python` on a small slide, in this process and the code's own one."""

import json
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from broker.orders.order import Order, OrderState
from broker.orders.request import OrderRequest
from broker.settings.config import AlgorithmSettings
from tests.support.slides import a_slide
from worker.algorithms import registry
from worker.inference import pipeline
from worker.inference.checkpoint import Checkpoint
from worker.inference.parallel_tiles import MAX_BATCH_BYTES
from worker.progress import Stopwatch
from worker.results import result_folder
from worker.slide_cache.local_slide import LocalSlide
from worker.slides.sandbox.client import Sandbox

MPP = 0.5
EDGE_PX = 300
TOKEN = "very-secret-token-1"
SETTINGS_NAME = "own"


@dataclass
class Recorder:
    """Progress that notes what is reported; `stop` is raised at the next report."""

    reports: list[tuple[str, int, int]] = field(default_factory=list)
    stop: Exception | None = None

    def report(self, step: str, done: int, total: int) -> None:
        if self.stop is not None:
            raise self.stop
        if not self.reports or self.reports[-1] != (step, done, total):
            self.reports.append((step, done, total))


def dotted(folder: Path) -> Path:
    """A slide of 300 x 300 px at 0.5 um with nine dark squares of 10 px on pink."""
    pixels = np.full((EDGE_PX, EDGE_PX, 3), (230, 180, 210), np.uint8)
    for x in (50, 150, 250):
        for y in (50, 150, 250):
            pixels[y - 5 : y + 5, x - 5 : x + 5] = (60, 40, 90)
    return a_slide(folder / "dotted.tiff", pixels, mpp=MPP)


def code(folder: Path, text: str, name: str = "own.py") -> Path:
    """A file with this code."""
    file = folder / name
    file.write_text(textwrap.dedent(text))
    return file


def entry(file: Path, name: str = "Own", **more: Any) -> AlgorithmSettings:
    """The settings of an algorithm made of the file."""
    return AlgorithmSettings(kind="python", entry=f"{file}:{name}", **more)


def run(
    settings: AlgorithmSettings,
    slide: Path,
    folder: Path,
    progress: Any = None,
    fence: int = 1,
    **request: Any,
) -> Path:
    """Run one scan and return the folder of its result."""
    settings_by_name = {SETTINGS_NAME: settings}
    parameters = request.pop("parameters", {})
    labels = request.pop("labels", {})
    algorithm = registry.load(
        SETTINGS_NAME, settings_by_name, parameters, "cpu", max_batch_bytes=MAX_BATCH_BYTES
    )
    stall_limit_s = request.pop("stall_limit_s", 300)
    algorithm.card = algorithm.card.model_copy(update={"stall_limit_s": stall_limit_s})
    source = {"id": "1", "source": {"type": "path", "path": str(slide)}, **request}
    destination = {"type": "techcyte", "host": "x.example", "task_id": "a", "jwt_token": TOKEN}
    asked = {"algorithm": SETTINGS_NAME, "scans": [source], "destination": destination}
    asked["labels"] = labels
    order = Order(
        id="1",
        state=OrderState.RUNNING,
        request=OrderRequest.model_validate({**asked, "parameters": parameters}, strict=False),
        queue="gpu",
        created_at=1,
        updated_at=1,
        expires_at=9,
        scans=(),
    )
    checkpoint = Checkpoint(folder / "unfinished" / f"1.0.{fence}")
    produced = {"at": "2026-11-21T07:00:00+00:00"}
    local = LocalSlide(slide, "0" * 64, 1)
    job = pipeline.ScanJob(order, order.request.scans[0], local, produced)
    classified = pipeline.classify(
        job, algorithm, checkpoint, Sandbox(threads=2), Stopwatch(), progress or Recorder()
    )
    result_folder.save(folder / str(fence), classified.result, classified.overlay)
    return folder / str(fence)


def results(folder: Path) -> dict[str, Any]:
    """What results.json says."""
    found: dict[str, Any] = json.loads((folder / "results.json").read_bytes())
    return found


def features(folder: Path) -> list[dict[str, Any]]:
    """The features of features.geojson."""
    found: list[dict[str, Any]] = json.loads((folder / "features.geojson").read_bytes())["features"]
    return found
