"""Programs of the tests that run as those of a site do."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

from worker.process.process_tree import is_alive
from worker.programs.interface import ProgramRun, RunningProgram

LIMIT_S = 120.0
"""Longer than any program of a test needs on a machine with much else to do."""


def python_run(scratch: Path, code: str, *words: str, **fields: Any) -> ProgramRun:
    """Return the run of a Python program with these arguments, and no modules but Python's own."""
    return command_run(scratch, [sys.executable, "-S", "-c", dedent(code), *words], **fields)


def command_run(scratch: Path, argv: Sequence[str], **fields: Any) -> ProgramRun:
    """Return a run with an environment that holds little."""
    scratch.mkdir(parents=True, exist_ok=True)
    return ProgramRun(
        argv=tuple(argv),
        environment={"PATH": os.environ["PATH"], **fields.pop("environment", {})},
        scratch=scratch,
        time_limit_s=fields.pop("time_limit_s", LIMIT_S),
        **fields,
    )


def exit_code(program: RunningProgram) -> int:
    """Return the exit code of a program, which ends in time."""
    code = program.wait(LIMIT_S)
    assert code is not None, "it did not end"
    return code


def printed(program: RunningProgram) -> str:
    """Wait for the end of a program and return what it printed."""
    exit_code(program)
    return program.output_path.read_text()


@contextmanager
def ended(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Kill the process afterwards, whatever happens, and wait for its end."""
    try:
        yield
    finally:
        process.kill()
        process.wait()


def processes_with(word: str) -> list[int]:
    """Return the processes of this machine that run and have this word in their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        process_id = int(folder.name)
        if word.encode() in words and process_id != os.getpid() and is_alive(process_id):
            found.append(process_id)
    return found
