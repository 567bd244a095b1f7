"""Runs small programs of tests on a small file, in place of a slide."""

import sys
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.plain_isolation import PlainIsolation
from worker.programs.interface import Isolation
from worker.programs.output import NoLog
from worker.programs.results_receiver.received import RunIdentity
from worker.programs.results_receiver.slide_files import SlideFiles
from worker.programs.run import Program, ProgramOutcome, ProgramScan, run_program
from worker.progress import StopWork

TOKEN = "token-of-this-run-1"
IDENTITY = RunIdentity("ci.techcyte.com", "dGFzazoxODU3MTQ=", "8946136", TOKEN)
SLIDE_BYTES = 70_000


@dataclass
class Running:
    """Progress that notes what it is told, and stops the program after so many seconds."""

    stop_after_s: float = float("inf")
    told: list[Any] = field(default_factory=list)

    def running(self, elapsed_s: float, told: tuple[int, int] | None) -> None:
        self.told.append(told)
        if elapsed_s > self.stop_after_s:
            raise StopWork("cancel")


@dataclass
class Lines:
    """A log that keeps its lines."""

    lines: list[str] = field(default_factory=list)

    def write_lines(self, lines: Iterable[str]) -> None:
        self.lines.extend(lines)


def python(text: str) -> tuple[str, ...]:
    """The command that runs this code with the Python of the tests."""
    return (sys.executable, "-c", textwrap.dedent(text))


def a_slide_file(folder: Path) -> SlideFiles:
    """A file that no reader of slides would open; programs here only fetch it."""
    file = folder / "slide one.svs"
    if not file.exists():
        file.write_bytes(bytes(range(250)) * (SLIDE_BYTES // 250))
    return SlideFiles(file, {file.name: file})


def run(
    argv: tuple[str, ...],
    folder: Path,
    isolation: Isolation | None = None,
    progress: Running | None = None,
    log: Any = None,
    **more: Any,
) -> ProgramOutcome:
    """Run the command to its end. `variables` and others are those of `Program`."""
    scratch = folder / "scratch"
    scratch.mkdir()
    program = Program(argv, **{"time_limit_s": 60, **more})
    scan = ProgramScan(IDENTITY, a_slide_file(folder))
    return run_program(
        program,
        scan,
        isolation or PlainIsolation(),
        scratch,
        progress or Running(),
        log or NoLog(),
    )
