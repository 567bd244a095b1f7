"""Runs programs on a small slide as a worker does: from the settings to the files of the result."""

import sys
from pathlib import Path
from typing import Any

from broker.orders.order import Order, OrderState
from broker.orders.request import OrderRequest
from broker.settings.config import AlgorithmSettings
from tests.support.plain_isolation import PlainIsolation, scripts
from tests.support.python_scans import Recorder
from worker.algorithms.programs.algorithm import ProgramAlgorithm
from worker.algorithms.programs.card import parameters_model, program_card
from worker.inference import pipeline
from worker.inference.checkpoint import Checkpoint
from worker.inference.programs.run_on_scan import ProgramSite
from worker.programs.interface import Isolation
from worker.programs.run import Program
from worker.progress import Stopwatch
from worker.results import result_folder
from worker.slide_cache.local_slide import LocalSlide
from worker.slides.sandbox.client import Sandbox

NAME = "own"
SCAN = "8946136"
TOKEN = "very-secret-token-1"
TECHCYTE = {"type": "techcyte", "host": "x.example", "task_id": "7", "jwt_token": TOKEN}
TEMPLATE = (sys.executable, str(scripts() / "template.py"))


def entry(command: tuple[str, ...], **more: Any) -> AlgorithmSettings:
    """The settings of a command."""
    return AlgorithmSettings.model_validate({"kind": "command", "command": command, **more})


def a_program(
    settings: AlgorithmSettings,
    isolation: Isolation | None = None,
    variables: dict[str, str] | None = None,
    **parameters: Any,
) -> ProgramAlgorithm:
    """The algorithm of the settings, without what `env` of the settings says."""
    card = program_card(NAME, settings)
    values = parameters_model(NAME, settings).model_validate(parameters).model_dump()
    program = Program(
        argv=tuple(settings.command or ()),
        time_limit_s=settings.time_limit_s or 60,
        variables=variables or {},
    )
    return ProgramAlgorithm(card, program, values, isolation or PlainIsolation())


def an_order(slide: Path, destination: Any = None, **request: Any) -> Order:
    """An order for one scan of the slide."""
    scan = {"id": SCAN, "source": {"type": "path", "path": str(slide)}, **request}
    asked = {"algorithm": NAME, "scans": [scan], "destination": destination or TECHCYTE}
    return Order(
        id="ord-1",
        state=OrderState.RUNNING,
        request=OrderRequest.model_validate(asked, strict=False),
        queue="gpu",
        created_at=1,
        updated_at=1,
        expires_at=9,
        scans=(),
    )


def run(
    algorithm: ProgramAlgorithm,
    slide: Path,
    folder: Path,
    site: ProgramSite | None = None,
    progress: Any = None,
    **request: Any,
) -> Path:
    """Run one scan and return the folder of its result."""
    order = an_order(slide, **request)
    site = site or ProgramSite(folder / "scratch")
    local = LocalSlide(slide, "0" * 64, 1)
    produced = {"at": "2026-11-21T07:00:00+00:00"}
    job = pipeline.ScanJob(order, order.request.scans[0], local, produced, site)
    checkpoint = Checkpoint(folder / "unfinished" / "1.0.1")
    classified = pipeline.classify(
        job, algorithm, checkpoint, Sandbox(threads=2), Stopwatch(), progress or Recorder()
    )
    result_folder.save(folder / "result", classified.result, classified.overlay)
    return folder / "result"
