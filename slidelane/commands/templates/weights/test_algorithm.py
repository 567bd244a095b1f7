"""Tests of the algorithm in this folder; run them with `pytest`."""

import json
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def test_every_check_is_good(tmp_path: Path) -> None:
    """The model file is right, the network runs, and its answers do not depend on the tiles."""
    command = [sys.executable, "-m", "slidelane", "algorithm", "check", str(FOLDER)]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "check.json").read_text())
    assert report["good"]
    assert (tmp_path / "overlay.png").is_file()
