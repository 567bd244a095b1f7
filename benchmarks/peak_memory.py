"""Runs a process and measures the most memory that it and its children hold together.

Memory is the proportional set size (PSS), in which shared memory counts once. It is sampled from
outside. Where speed is measured too, that is done twice a second: ten times a second took a tenth
of the speed of a process with much memory.
"""

import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.environment import ROOT

EVERY_S = 0.5
OFTEN_S = 0.05
"""Where only memory is measured: a peak may last a tenth of a second."""


def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    within_s: float,
    every_s: float = EVERY_S,
) -> dict[str, Any]:
    """Return the JSON of the last line that it prints, and `peak_rss_bytes`.

    Raise `RuntimeError` with its last lines where it fails, and `TimeoutError`.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | environment,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        try:
            peak_bytes = _peak(process, time.monotonic() + within_s, every_s)
        finally:
            # ProcessLookupError: every process of the group has ended.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.returncode:
            err.seek(0)
            raise RuntimeError(
                f"{' '.join(command)} ended with {process.returncode}\n{err.read()[-2000:]}"
            )
        out.seek(0)
        result: dict[str, Any] = json.loads(out.read().splitlines()[-1])
    return result | {"peak_rss_bytes": peak_bytes}


def _peak(process: subprocess.Popen[bytes], end: float, every_s: float) -> int:
    peak_bytes = 0
    while process.poll() is None:
        held_bytes = family_bytes(process.pid)
        if held_bytes > peak_bytes:
            # Sampled twice: a child that has not yet executed its program counts its parent's
            # memory once more.
            peak_bytes = max(peak_bytes, min(held_bytes, family_bytes(process.pid)))
        if time.monotonic() > end:
            raise TimeoutError(f"{process.args!r} took too long")
        time.sleep(every_s)
    return peak_bytes


def family_bytes(parent: int) -> int:
    """Return the memory that a process and its children hold together now."""
    return sum(_held_bytes(one) for one in _family(parent))


def _family(parent: int) -> Iterator[int]:
    yield parent
    for task in _entries(Path(f"/proc/{parent}/task")):
        for child in _read(task / "children").split():
            yield from _family(int(child))


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        # The process has ended.
        return []


def _held_bytes(process: int) -> int:
    found = re.search(
        r"^Pss: +(\d+) kB", _read(Path(f"/proc/{process}/smaps_rollup")), re.MULTILINE
    )
    if not found:
        return 0
    return int(found[1]) * 1024


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        # The process has ended.
        return ""
