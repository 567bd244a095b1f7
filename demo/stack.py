"""Runs `slidelane serve` as a child process and ends every process that it started.

The service is controlled from outside only: by its command line, its environment and `/readyz`.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

import requests

from broker.data_folder import make_private

ROOT = Path(__file__).resolve().parents[1]
GRACE_S = 20.0
POLL_S = 0.2
DATA_VARIABLE = "SLIDELANE_BROKER__DATA"


class StackError(Exception):
    """The service did not start or did not end; the message says what to look at."""


class Stack:
    """`slidelane serve` on free loopback ports while the context is open.

    What it prints goes to `<data>/serve.log`.
    """

    def __init__(
        self, data: Path, roots: tuple[Path, ...], settings: Mapping[str, str] | None = None
    ) -> None:
        """`settings`: further environment variables of the service."""
        self.data = data.resolve()
        self.log = self.data / "serve.log"
        port, flower_port = free_ports(2)
        self.url = f"http://127.0.0.1:{port}"
        self.flower_url = f"http://127.0.0.1:{flower_port}"
        self._process: subprocess.Popen[bytes] | None = None
        # The settings of a real service must not reach the demonstration.
        self._env = {
            name: value for name, value in os.environ.items() if not name.startswith("SLIDELANE_")
        }
        self._env |= {
            DATA_VARIABLE: str(self.data),
            "SLIDELANE_BROKER__ALLOW_HOSTS": '["127.0.0.1"]',
            "SLIDELANE_SERVICES__PORT": str(port),
            "SLIDELANE_WORKER__DELIVER__UNKNOWN_PATIENCE_S": "10",
            "SLIDELANE_WORKER__GRACE_S": "2",
            "SLIDELANE_WORKER__SLIDES__ROOTS": json.dumps([str(root.resolve()) for root in roots]),
            "FLOWER_PORT": str(flower_port),
            "PYTHONUNBUFFERED": "1",
            **(settings or {}),
        }

    def __enter__(self) -> Self:
        make_private(self.data)
        command = [sys.executable, "-m", "slidelane.cli", "serve"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=self._env, stdout=log, stderr=log, start_new_session=True
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_ready(self, within_s: float = 120) -> None:
        """Block until `/readyz` answers 200. Raise `StackError` with the end of the log."""
        deadline = time.monotonic() + within_s
        while not self._is_ready():
            self.check()
            if time.monotonic() > deadline:
                raise StackError(
                    f"the service was not ready within {within_s:g} s; {self._end_of_log()}"
                )
            time.sleep(POLL_S)

    def check(self) -> None:
        """Raise `StackError` when the service has ended by itself."""
        if self._process is None or self._process.poll() is not None:
            raise StackError(f"the service ended by itself; {self._end_of_log()}")

    def stop(self) -> None:
        """End every process of the service: by SIGTERM, and those that remain by SIGKILL.

        Raise `StackError` if one is still there afterwards.
        """
        self._signal_group(signal.SIGTERM)
        try:
            self._wait_until_gone()
        finally:
            # Also when a second Ctrl-C ends the waiting.
            self._signal_group(signal.SIGKILL)
            for pid in self.processes():
                _kill(pid)
        self._wait_until_gone()
        remaining = self.processes()
        if remaining:
            raise StackError(f"processes of the service are left behind: {sorted(remaining)}")

    def processes(self) -> set[int]:
        """Return the ids of all processes of the service: what uses its data folder."""
        if self._process is None:
            return set()
        pids = set(belonging(self.data))
        if self._process.poll() is None:
            pids.add(self._process.pid)
        return pids

    def _signal_group(self, number: signal.Signals) -> None:
        if self._process and self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def _wait_until_gone(self) -> None:
        deadline = time.monotonic() + GRACE_S
        while self.processes() and time.monotonic() <= deadline:
            time.sleep(POLL_S)

    def _is_ready(self) -> bool:
        with requests.Session() as http:
            # A proxy of the environment cannot reach loopback.
            http.trust_env = False
            try:
                return http.get(f"{self.url}/readyz", timeout=5).status_code == 200
            except requests.RequestException:
                return False

    def _end_of_log(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-30:]
        return "\n  ".join([f"the end of {self.log}:", *lines])


def free_ports(count: int) -> list[int]:
    """Return ports on loopback that no process listens on."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def belonging(data: Path) -> Iterator[int]:
    """Yield the processes that have the data folder in their environment or work in it.

    Redis overwrites its environment, but works in the folder. A zombie has neither of the two. Read
    from Linux' /proc, so there are none on other systems.
    """
    variable = f"{DATA_VARIABLE}={data}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        # OSError: the process belongs to another user or has just ended.
        with suppress(OSError):
            environment = (process / "environ").read_bytes().split(b"\0")
            if variable in environment or (process / "cwd").readlink().is_relative_to(data):
                yield int(process.name)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
