"""The whole service as one child process: started, waited for, and ended without a trace.

Speaks to it as anybody outside would: its command line, its environment and `/readyz`.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import requests

ROOT = Path(__file__).resolve().parents[1]
GRACE_S = 20.0
POLL_S = 0.2
DATA_VARIABLE = "SLIDELANE_BROKER__DATA"


class StackError(Exception):
    """The service did not start or did not end; the message says what to look at."""


class Stack:
    """`slidelane serve` on free loopback ports for as long as the context lasts. Its lines go to `<data>/serve.log`."""

    def __init__(self, data: Path, roots: tuple[Path, ...]) -> None:
        self.data, self.log = data.resolve(), data.resolve() / "serve.log"
        port, flower_port = free_ports(2)
        self.url, self.flower_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{flower_port}"
        self._process: subprocess.Popen[bytes] | None = None
        # A setting meant for somebody's real service must not reach the demonstration.
        self._env = {
            name: value for name, value in os.environ.items() if not name.startswith("SLIDELANE_")
        } | {
            DATA_VARIABLE: str(self.data),
            "SLIDELANE_BROKER__ALLOW_HOSTS": '["127.0.0.1"]',
            "SLIDELANE_SERVICES__PORT": str(port),
            "SLIDELANE_WORKER__GRACE_S": "2",
            "SLIDELANE_WORKER__SLIDES__ROOTS": json.dumps([str(root.resolve()) for root in roots]),
            "FLOWER_PORT": str(flower_port),
            "PYTHONUNBUFFERED": "1",
        }

    def __enter__(self) -> Self:
        self.data.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "slidelane.cli", "serve"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=self._env, stdout=log, stderr=log, start_new_session=True
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_ready(self, within_s: float = 120) -> None:
        """Block until `/readyz` answers 200. Raises `StackError` with the log's tail."""
        deadline = time.monotonic() + within_s
        while not self._is_ready():
            self.check()
            if time.monotonic() > deadline:
                raise StackError(f"the service was not ready within {within_s:g} s; {self._tail()}")
            time.sleep(POLL_S)

    def check(self) -> None:
        """Raise `StackError` when the service has ended by itself."""
        if self._process is None or self._process.poll() is not None:
            raise StackError(f"the service ended by itself; {self._tail()}")

    def stop(self) -> None:
        """End every process of the service, politely and then not. Raises `StackError` if one is left."""
        self._signal(signal.SIGTERM)
        try:
            _until(lambda: not self.processes(), GRACE_S)
        finally:  # also when somebody will not wait: a second Ctrl-C
            self._signal(signal.SIGKILL)
        if not _until(lambda: not self.processes(), GRACE_S):
            raise StackError(
                f"processes of the service are left behind: {sorted(self.processes())}"
            )

    def processes(self) -> set[int]:
        """The living processes of the service: all that belong to its data folder, where the system shows that."""
        if self._process is None:
            return set()
        own = {self._process.pid} if self._process.poll() is None else set()
        return own | set(belonging(self.data))

    def _signal(self, number: signal.Signals) -> None:
        """To the process group; a kill also to every process that has left it."""
        if self._process and self._process.poll() is None:
            os.killpg(self._process.pid, number)
        for pid in self.processes() if number == signal.SIGKILL else ():
            _kill(pid)

    def _is_ready(self) -> bool:
        with requests.Session() as http:
            http.trust_env = False  # a proxy of the environment has no business with loopback
            try:
                return http.get(f"{self.url}/readyz", timeout=5).status_code == 200
            except requests.RequestException:
                return False

    def _tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-30:]
        return "\n  ".join([f"the end of {self.log}:", *lines])


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody listens on."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _until(condition: Callable[[], bool], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def belonging(data: Path) -> Iterator[int]:
    """Processes that carry the data folder in their environment, or work in it, as Redis does, which hides the former.

    From Linux' /proc; none elsewhere. A zombie has neither.
    """
    variable = f"{DATA_VARIABLE}={data}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            carries = variable in (process / "environ").read_bytes().split(b"\0")
            if carries or (process / "cwd").readlink().is_relative_to(data):
                yield int(process.name)
        except OSError:  # somebody else's, or gone meanwhile
            continue


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
