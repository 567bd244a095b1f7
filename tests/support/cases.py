"""Cases of several slides, a network whose answer about them is known, and both passes in process.

Slides are of squares as large as a tile, all red or all blue, so the share of red tiles is known.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from broker.orders.order import Order, OrderState
from broker.orders.request import OrderRequest
from tests.support.slide_models import EDGE, a_head, an_encoder
from tests.support.slide_server import Listener
from tests.support.slides import a_slide
from worker.inference import pipeline
from worker.inference.case.bag import EncodedScan
from worker.inference.case.judging import judge, results
from worker.inference.checkpoint import Checkpoint
from worker.progress import Stopwatch
from worker.results import result_folder
from worker.slide_cache.local_slide import LocalSlide
from worker.slides.sandbox.client import Sandbox

RED = (200, 10, 40)
BLUE = (10, 20, 220)
CASE = {"a": "RR", "b": "BBBB", "c": "RB"}
"""The tiles of three slides. 3 of 8 are red; alone they are all red, all blue, and half red."""
PRODUCED = {"at": "2026-11-21T07:00:00+00:00"}


class Shares(nn.Module):
    """The shares of red and of blue tiles in a bag (T, 3), and as attention the blue of each."""

    def forward(self, bag: Tensor) -> tuple[Tensor, Tensor]:
        red = (bag[:, 0] > bag[:, 2]).float().mean()
        return torch.stack([red, 1 - red])[None], bag[:, 2]


def a_case_head(folder: Path, **keys: Any) -> Path:
    """Write a folder of `Shares`, judging cases, with its encoder beside it; return its path."""
    an_encoder(folder.parent / "colours", tissue_only=keys.pop("tissue_only", False))
    described = {
        "scope": "case",
        "classes": ["red", "blue"],
        "activation": "none",
        "outputs": {"logits": 0, "attention": 1},
    }
    return a_head(folder, Shares(), **{**described, **keys})


def striped(path: Path, tiles: str) -> Path:
    """Write a slide of one row of tiles, `R` or `B` each; any other letter is glass."""
    colors = [{"R": RED, "B": BLUE}.get(one, (255, 255, 255)) for one in tiles]
    row = np.array(colors, np.uint8)[None]
    return a_slide(path, row.repeat(EDGE, axis=0).repeat(EDGE, axis=1), levels=(1,))


def slides_of(folder: Path, case: Mapping[str, str] = CASE) -> dict[str, Path]:
    """Write the slides of a case, by the ids of their scans."""
    folder.mkdir(parents=True, exist_ok=True)
    return {name: striped(folder / f"{name}.svs", tiles) for name, tiles in case.items()}


def scans_of(slides: Mapping[str, Path]) -> list[dict[str, Any]]:
    """The scans of an order for these slides."""
    return [
        {"id": name, "source": {"type": "path", "path": str(slide)}}
        for name, slide in slides.items()
    ]


def encoded(model: Any, slides: Mapping[str, Path], folder: Path) -> list[Path]:
    """Run the first pass on every slide of one order; return the folders of the results."""
    request = OrderRequest.model_validate(
        {"algorithm": model.card.name, "scans": scans_of(slides)}, strict=False
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
    folders = []
    for number, (scan, slide) in enumerate(zip(request.scans, slides.values(), strict=True)):
        digest = hashlib.sha256(slide.read_bytes()).hexdigest()
        job = pipeline.ScanJob(order, scan, LocalSlide(slide, digest, 1), PRODUCED)
        checkpoint = Checkpoint(folder / "unfinished" / f"1.{number}.1")
        clock = Stopwatch()
        classified = pipeline.classify(
            job, model, checkpoint, Sandbox(threads=1), clock, Listener()
        )
        folders.append(folder / str(number))
        result_folder.save(folders[-1], classified.result, classified.overlay)
    return folders


def judged(model: Any, folders: Sequence[Path], folder: Path) -> list[Path]:
    """Run the second pass on encoded scans; return the folders of their results."""
    scratch = folder / "scratch"
    scratch.mkdir(parents=True)
    scans = [EncodedScan.load(one, model.card) for one in folders]
    case = judge(scans, model, scratch, Listener())
    saved = []
    for number, (result, overlay) in enumerate(results(case, model, scratch, PRODUCED)):
        saved.append(folder / f"{number}.case")
        result_folder.save(saved[-1], result, overlay)
    return saved
