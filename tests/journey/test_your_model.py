"""The tutorial docs/your-model.md: every command of it, as it stands, in one shell."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.command_line import clean_environment, slidelane
from tests.support.pages import blocks, read

MOST_S = 170


def test_the_commands_of_the_tutorial_work_as_pasted(slide: Path, tmp_path: Path) -> None:
    """Networks and code are made, checked and run on a slide, with nothing that runs."""
    shutil.copy(slide, tmp_path / "slide.svs")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, module in (("slidelane", "-m slidelane "), ("python", "")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module}"$@"\n')
        program.chmod(0o755)
    path = f"{programs}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    script = "\n".join(blocks(read("docs/your-model.md"), "sh"))
    assert script.count("slidelane") >= 6
    done = subprocess.run(
        ["bash", "-eu", "-c", script],
        cwd=tmp_path,
        env=clean_environment(PATH=path),
        capture_output=True,
        text=True,
        timeout=MOST_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for folder, name in (("result", "my-network"), ("result-code", "my-code")):
        results = json.loads((tmp_path / folder / "results.json").read_bytes())
        assert results["algorithm"]["name"] == name
        assert sum(results["counts"].values()) > 0
        assert (tmp_path / folder / "overlay.png").is_file()
    assert json.loads((tmp_path / "check" / "check.json").read_bytes())["good"]
    assert '"my-code"' in done.stdout


def test_wrong_commands_end_with_status_2(tmp_path: Path) -> None:
    """An output that does not fit, what is no algorithm; a folder that holds something is kept."""
    wrong = slidelane("algorithm", "new", tmp_path / "a", "--kind", "python", "--output", "slide")
    assert (wrong.returncode, "python answers" in wrong.stderr) == (2, True), wrong.stderr
    assert slidelane("algorithm").returncode == 2
    none = slidelane("algorithm", "check", tmp_path / "none", "--out", tmp_path / "out")
    assert (none.returncode, "algorithm_unknown" in none.stderr) == (2, True), none.stderr
    (tmp_path / "notes.txt").write_text("mine")
    full = slidelane("algorithm", "new", tmp_path, "--kind", "python")
    assert (full.returncode, "exists already" in full.stderr) == (1, True), full.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
