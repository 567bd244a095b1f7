"""Run the commands of a how-to page in a folder as `make serve` leaves it."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.support.paths import ROOT


def walk_folder(slide: Path, folder: Path) -> Path:
    """Return the folder with a Python in `.venv` and a sample slide in `data`."""
    sample = folder / "data" / "sample" / "sample.svs"
    sample.parent.mkdir(parents=True)
    shutil.copy(slide, sample)
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return folder


def run_walk(commands: str, folder: Path) -> None:
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
        with suppress(ProcessLookupError):  # it has ended, and left nothing running
            os.killpg(shell.pid, signal.SIGKILL)
