"""Measures the core time of opening a slide, against a new process for each slide."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.comparison import Comparison
from benchmarks.environment import ROOT
from demo.slide import make_sample_slide
from worker.slides.sandbox.client import Sandbox

EDGE_PX = 512


def measure(rounds: int, slides: int, report: Callable[[str], None]) -> list[Comparison]:
    """Open so many slides in each round. The start of the server is not counted."""
    with TemporaryDirectory(prefix="slidelane-bench-") as folder:
        path = Path(folder) / "slide.svs"
        make_sample_slide(path, EDGE_PX, EDGE_PX)
        sandbox = Sandbox(threads=2)
        with sandbox.open(path) as slide:
            server_id = _parent(slide.process_id)
        ours = []
        theirs = []
        for number in range(1, rounds + 1):
            report(f"core time of opening a slide, round {number} of {rounds}")
            ours.append(_opening_ms(sandbox, path, server_id, slides))
            theirs.append(_importing_ms())
    ratios = tuple(mine / other for mine, other in zip(ours, theirs, strict=True))
    return [
        Comparison(
            f"opening a slide of {EDGE_PX} px, core time",
            "ms",
            median(ours),
            "a new process with its imports",
            median(theirs),
            ratios,
        )
    ]


def _opening_ms(sandbox: Sandbox, path: Path, server_id: int, slides: int) -> float:
    """Return what a slide takes of a core: here, in the server, and in the forked process."""
    before_s = _own_s() + _with_children_s(server_id)
    for _ in range(slides):
        with sandbox.open(path):
            pass
    return 1000 * (_own_s() + _with_children_s(server_id) - before_s) / slides


def _importing_ms() -> float:
    """Return what a process takes of a core that loads what a decoder process has."""
    before_s = _ended_children_s()
    command = [sys.executable, "-c", "import worker.slides.sandbox.fork_server"]
    subprocess.run(command, cwd=ROOT, check=True)
    return 1000 * (_ended_children_s() - before_s)


def _own_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _ended_children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _with_children_s(process_id: int) -> float:
    """Return utime, stime, cutime and cstime of proc_pid_stat(5)."""
    ticks = sum(int(field) for field in _stat(process_id)[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def _parent(process_id: int) -> int:
    return int(_stat(process_id)[1])


def _stat(process_id: int) -> list[str]:
    """Return the fields behind the name of the program."""
    return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
