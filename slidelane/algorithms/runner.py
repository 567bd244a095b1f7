"""Runs an algorithm on one image, in a process of the worker's own runner."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from slidelane.algorithms.interface import Result

_MODULE: Final = "slidelane"
_LONGEST_ERROR: Final = 2000


class RunError(RuntimeError):
    """The image was not classified. The message is what the runner says."""


def run(
    algorithm: str,
    image: str | Path,
    *,
    out: str | Path | None = None,
    roi: Sequence[float] | None = None,
    mpp: float | None = None,
    device: str = "auto",
    **parameters: Any,
) -> Result:
    """Run an algorithm on an image as `slidelane run` does, and return its result.

    `algorithm` is a configured name, a folder, or `FILE.py:NAME`; `out` is where the result's files
    are kept, `roi` is x, y, width and height in level-0 pixels, `parameters` are the order's.

    Nothing of the worker is imported. Raises RunError.
    """
    arguments = [str(image), "--algorithm", algorithm, "--set", f"worker.device={device}"]
    if roi is not None:
        arguments += ["--roi", ",".join(f"{number:g}" for number in roi)]
    if mpp is not None:
        arguments += ["--mpp", repr(mpp)]
    for name, value in parameters.items():
        arguments += ["--set", f"{name}={_text(value)}"]
    if out is not None:
        return _run(arguments, Path(out))
    with tempfile.TemporaryDirectory(prefix="slidelane-") as folder:
        return _run(arguments, Path(folder))


def _run(arguments: Sequence[str], out: Path) -> Result:
    command = [sys.executable, "-m", _MODULE, "run", *arguments, "--out", str(out)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        said = (ended.stderr.strip() or ended.stdout.strip())[-_LONGEST_ERROR:]
        raise RunError(said or f"the runner ended with {ended.returncode}")
    return _result(out)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value)


def _result(out: Path) -> Result:
    """Return what the runner wrote: the features as GeoJSON, the figures and the files."""
    results = json.loads((out / "results.json").read_bytes())
    features = json.loads((out / "features.geojson").read_bytes())
    files = {file.name: file for file in sorted(out.iterdir()) if file.is_file()}
    warnings = [(one["code"], one["detail"]) for one in results.get("warnings", ())]
    return Result(
        geojson=features,
        summary=results["summary"],
        headline=results["headline"],
        files=files,
        warnings=warnings,
    )
