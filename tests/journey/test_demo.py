"""`python -m demo.run` for real, as `make demo` runs it, on a slide small enough for a test."""

import subprocess
import sys
from pathlib import Path

from demo.stack import ROOT, belonging

SIZE = ("--width", "2560", "--height", "2304")


def test_the_demonstration_delivers_both_and_leaves_no_process(tmp_path: Path) -> None:
    """Exit 0 says that both receivers hold their order exactly once; the files it names are
    there."""
    data, output = tmp_path / "data", tmp_path / "output"
    command = [
        sys.executable,
        "-m",
        "demo.run",
        *SIZE,
        "--data",
        str(data),
        "--output",
        str(output),
    ]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for receiver in ("Techcyte", "annotation loader"):
        assert done.stdout.count(f"{receiver} accepted") == 1
    for folder in ("whole-slide", "region"):
        assert {file.name for file in (output / folder).iterdir()} == {
            "overlay.png",
            "features.geojson",
            "region.geojson",
        }
    assert (output / "drawn-section.svs").stat().st_size > 100_000
    assert f"make serve DATA={data}" in done.stdout
    assert done.stdout.count("http://127.0.0.1:8000/#/orders/") == 2
    assert list(belonging(data.resolve())) == []
