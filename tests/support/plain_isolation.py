"""Runs programs as plain processes of this machine, for tests of what they talk to."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from worker.programs.interface import EndedBy, Grant, ProgramRun


class PlainProgram:
    """A program in a session of its own. What leaves the session is not ended with it."""

    listeners: Sequence[socket.socket] = ()

    def __init__(self, run: ProgramRun) -> None:
        self.output_path = run.scratch / "output.log"
        self.ended_by: EndedBy = ""
        self._ends_at = time.monotonic() + run.time_limit_s
        self._read = 0
        with self.output_path.open("wb") as output:
            self._process = subprocess.Popen(
                run.argv,
                env=dict(run.environment),
                cwd=run.scratch,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait(self, timeout_s: float) -> int | None:
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            if time.monotonic() < self._ends_at:
                return None
            self.ended_by = "time_limit"
            self.kill()
            return self._process.wait()
        self.ended_by = self.ended_by or "exit"
        return code

    def stop(self, grace_s: float) -> None:
        self.ended_by = "stop"
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        self._process.wait()

    def new_output(self) -> str:
        with self.output_path.open("rb") as output:
            output.seek(self._read)
            piece = output.read(65536)
        self._read += len(piece)
        return piece.decode("utf-8", "replace")

    def _signal(self, number: int) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)


class PlainIsolation:
    """Starts plain processes; `runs` are those that were started."""

    shows_mounts = False
    has_own_network = False
    receiver_host = "127.0.0.1"

    def __init__(self) -> None:
        self.runs: list[ProgramRun] = []

    def granted(self) -> tuple[Grant, ...]:
        return ()

    def start(self, run: ProgramRun) -> PlainProgram:
        self.runs.append(run)
        return PlainProgram(run)


def scripts() -> Path:
    """The folder with programs for tests."""
    return Path(__file__).parent / "program_files"
