"""docs/connect-camicroscope-2.md: its settings and its commands, from a job to a zip at the loader."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.settings.config import Config
from tests.support.pages import blocks, read
from tests.support.paths import ROOT
from tests.support.stack import Stack, free_port

PAGE = read("docs/connect-camicroscope-2.md")
SETTINGS = [json.loads(block) for block in blocks(PAGE, "json")]
COMMANDS = "\n".join(blocks(PAGE, "sh"))
SERVED_AT = "localhost:8000"
LOADER_AT = "8084"
SLIDES_AT = "8085"


@pytest.fixture
def ports(running: Stack) -> Iterator[tuple[int, int]]:
    """The ports of the loader and the slides; API and courier have the settings of the page."""
    loader = free_port()
    slides = free_port()
    text = json.dumps(SETTINGS[1]).replace(LOADER_AT, str(loader)).replace(SLIDES_AT, str(slides))
    settings = json.loads(text)
    given = {
        "SLIDELANE_SERVICES__DESTINATIONS": json.dumps(settings["services"]["destinations"]),
        "SLIDELANE_SERVICES__KUE": json.dumps(settings["services"]["kue"]),
        "SLIDELANE_WORKER__LOCATOR": json.dumps(settings["worker"]["locator"]),
    }
    for role in ("api", "courier"):
        running.kill(role, signal.SIGTERM)
        running.start(role, **given)
    running.wait_ready()
    yield loader, slides
    for role in ("api", "courier"):
        running.kill(role, signal.SIGTERM)
        running.start(role)
    running.wait_ready()


@pytest.fixture
def folder(slide: Path, tmp_path: Path) -> Path:
    """A working folder as `make serve` leaves it: a Python in `.venv`, a sample slide in `data`."""
    sample = tmp_path / "data" / "sample" / "sample.svs"
    sample.parent.mkdir(parents=True)
    shutil.copy(slide, sample)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return tmp_path


def run(commands: str, folder: Path) -> None:
    """Run the commands in a shell, and end it with all that it started."""
    shell = subprocess.Popen(
        ["bash", "-eu", "-c", commands],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert shell.wait(timeout=150) == 0
    finally:
        os.killpg(shell.pid, signal.SIGKILL)


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_settings_of_the_page_can_work(settings: dict[str, Any]) -> None:
    """Both are accepted as they stand."""
    assert Config(**settings).services.kue.types


@pytest.mark.skipif(shutil.which("curl") is None, reason="the commands of the page use curl")
def test_a_job_becomes_a_zip_at_the_loader(
    running: Stack, ports: tuple[int, int], folder: Path
) -> None:
    """A shell runs the commands of the page; only ports are changed. The job is complete when the
    loader has the zip, and the order is seen both ways."""
    loader, slides = ports
    assert COMMANDS.count(SERVED_AT) == 2
    commands = (
        COMMANDS.replace(SERVED_AT, running.url.removeprefix("http://"))
        .replace(LOADER_AT, str(loader))
        .replace(SLIDES_AT, str(slides))
    )
    run(commands, folder)
    job = json.loads((folder / "data" / "job.json").read_text())
    assert job["state"] == "complete", job
    order = running.get(job["result"]["order"])
    assert (order["state"], order["created_by"]) == ("delivered", "kue"), order
    assert (order["labels"]["kue"], order["labels"]["case"]) == (job["id"], "CMU1")
    assert order["scans"][0]["roi"] == {"x": 600, "y": 500, "width": 900, "height": 800}
    (entry,) = json.loads((folder / "data" / "ledger.json").read_text())
    assert entry["note"]["case"] == "CMU1"
