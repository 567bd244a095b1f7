"""The tutorial docs/programs.md: every command of its first section, as it stands, in one shell."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.command_line import clean_environment
from tests.support.pages import blocks, read

MOST_S = 170


def test_the_commands_of_the_tutorial_work_as_pasted(slide: Path, tmp_path: Path) -> None:
    """A program is made, checked and run on a slide, with nothing that runs."""
    shutil.copy(slide, tmp_path / "slide.svs")
    programs = tmp_path / "programs"
    programs.mkdir()
    program = programs / "slidelane"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m slidelane "$@"\n')
    program.chmod(0o755)
    path = f"{programs}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    script = "\n".join(blocks(read("docs/programs.md"), "sh"))
    assert script.count("slidelane") >= 3
    done = subprocess.run(
        ["bash", "-eu", "-c", script],
        cwd=tmp_path,
        env=clean_environment(PATH=path, SLIDELANE_WORKER__DEVICE="cpu"),
        capture_output=True,
        text=True,
        timeout=MOST_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "result" / "results.json").read_bytes())
    assert results["headline"] == "Pieces of tissue: 1"
    assert results["counts"] == {"Tissue": 1}
    posted = json.loads((tmp_path / "result" / "posted.json").read_bytes())
    assert posted["scanResults"][0]["workflow"]["provider"] == "our lab"
    assert "fetched" in (tmp_path / "result" / "output.log").read_text()
    assert json.loads((tmp_path / "check" / "check.json").read_bytes())["good"]
