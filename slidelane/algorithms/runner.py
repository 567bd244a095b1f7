"""Runs an algorithm on one image, in a process of the worker's own runner."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from slidelane.algorithms.interface import Result

_MODULE: Final = "slidelane"
_OWN_FILES: Final = "files"
"""The folder of further files that the algorithm's own code made."""
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
    Without `out` no file is kept, and `files` of the result is empty.

    Nothing of the worker is imported. Raises RunError.
    """
    arguments = [str(image), "--algorithm", algorithm, "--set", f"worker.device={device}"]
    if roi is not None:
        # one word, for it may begin with a minus
        arguments.append("--roi=" + ",".join(f"{number:.15g}" for number in roi))
    if mpp is not None:
        arguments += ["--mpp", repr(mpp)]
    for name, value in parameters.items():
        # as JSON, so that the text "5" is no number
        arguments += ["--set", f"{name}={json.dumps(value)}"]
    if out is not None:
        return _run(arguments, Path(out))
    with tempfile.TemporaryDirectory(prefix="slidelane-") as folder:
        return replace(_run(arguments, Path(folder)), files={})


def _run(arguments: Sequence[str], out: Path) -> Result:
    command = [sys.executable, "-m", _MODULE, "run", *arguments, "--out", str(out)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        said = (ended.stderr.strip() or ended.stdout.strip())[-_LONGEST_ERROR:]
        raise RunError(said or f"the runner ended with {ended.returncode}")
    return _result(out)


def _result(out: Path) -> Result:
    """Return what the runner wrote: the features as GeoJSON, the figures and the files."""
    results = json.loads((out / "results.json").read_bytes())
    features = json.loads((out / "features.geojson").read_bytes())
    found = [*out.iterdir(), *(out / _OWN_FILES).glob("*")]
    files = {str(file.relative_to(out)): file for file in sorted(found) if file.is_file()}
    warnings = [(one["code"], one["detail"]) for one in results.get("warnings", ())]
    return Result(
        geojson=features,
        summary=results["summary"],
        headline=results["headline"],
        files=files,
        warnings=warnings,
    )
