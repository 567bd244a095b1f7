"""A run as the worker sees it: the start of its supervisor, its output, its end."""

import json
import os
import signal
import socket
import subprocess
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path
from select import select
from threading import RLock
from time import monotonic
from typing import Any, Final

from broker.errors import OrderError, TemporaryError
from worker.programs.interface import EndedBy
from worker.programs.isolation.output import OutputReader, create_ring
from worker.programs.isolation.request import Request
from worker.stop_signals import stop_signals_blocked

_MODULE: Final = "worker.programs.isolation"
_INHERITED_VARIABLES: Final = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH")
_START_S: Final = 120.0
_KILL_S: Final = 90.0
"""A supervisor that has not ended everything after this is killed itself."""
_MESSAGE_BYTES: Final = 65536


class SupervisedProgram:
    """A `RunningProgram` with a supervisor. Threads may share it, but for `new_output`."""

    def __init__(self, request: Request) -> None:
        """Start the program. Raise OrderError where the system refuses to."""
        self.output_path = Path(request.output)
        self._lock = RLock()
        self._ended: dict[str, Any] | None = None
        self._received = b""
        ring = create_ring()
        self._reader = OutputReader(ring, request.max_output_bytes)
        self._control, remote_control = socket.socketpair()
        with remote_control:
            try:
                self._supervisor = _start_supervisor(remote_control.fileno(), ring)
            except OSError as error:
                self._control.close()
                os.close(ring)
                raise TemporaryError(
                    "out_of_memory", f"the system starts no further process ({error.strerror})"
                ) from None
        self._end = weakref.finalize(self, _end, self._supervisor, self._control, ring)
        try:
            self._control.sendall(request.line)
            self._listeners = self._await_start()
        except OSError:
            self._end()
            raise _unavailable("its supervisor has ended") from None
        except BaseException:
            self._end()
            raise

    @property
    def listeners(self) -> Sequence[socket.socket]:
        """The sockets that listen in the program's own network, in the order of the request."""
        return self._listeners

    @property
    def ended_by(self) -> EndedBy:
        """Why the program has ended; empty while it runs."""
        ended = self._read(0)
        if ended is None:
            return ""
        by: EndedBy = ended["by"]
        return by

    def wait(self, timeout_s: float) -> int | None:
        """Return the exit code once nothing of the program is left, None after the timeout."""
        ended = self._read(timeout_s)
        if ended is None:
            return None
        self._await_end(_KILL_S)
        return int(ended["ended"])

    def stop(self, grace_s: float) -> None:
        """Ask the program to end, kill it after `grace_s`; return when nothing is left."""
        self._tell({"stop": grace_s})
        self._await_end(grace_s + _KILL_S)

    def kill(self) -> None:
        """End the program at once; return when nothing is left."""
        self._tell({"kill": True})
        self._await_end(_KILL_S)

    def new_output(self) -> str:
        """Return what was printed since the last call in whole lines, at most 64 KiB."""
        return self._reader.new_output(has_ended=self._read(0) is not None)

    def _await_start(self) -> list[socket.socket]:
        """Return the listening sockets once the program runs. Raises OrderError, OSError."""
        listeners: list[socket.socket] = []
        deadline = monotonic() + _START_S
        while True:
            if not select([self._control], [], [], max(0.0, deadline - monotonic()))[0]:
                raise _unavailable(f"it did not start within {_START_S:g} s")
            received, descriptors, _, _ = socket.recv_fds(self._control, _MESSAGE_BYTES, 64)
            listeners += [socket.socket(fileno=descriptor) for descriptor in descriptors]
            if not received:
                raise _unavailable("its supervisor has ended")
            *lines, self._received = (self._received + received).split(b"\n")
            for line in lines:
                message = json.loads(line)
                if "failed" in message:
                    raise _unavailable(message["failed"])
                if "ended" in message:
                    self._ended = message
                if "started" in message:
                    # The end of a short program may be in the same piece; it was read above or
                    # follows.
                    self._take(lines)
                    return listeners

    def _read(self, timeout_s: float) -> dict[str, Any] | None:
        """Return what the supervisor says of the end, waiting for it so long; None before it."""
        deadline = monotonic() + timeout_s
        while self._ended is None and self._end.alive:
            left_s = max(0.0, deadline - monotonic())
            if not select([self._control], [], [], left_s)[0]:
                return self._ended
            with self._lock:
                self._receive()
        return self._ended

    def _receive(self) -> None:
        """Take what is there, without waiting."""
        if self._ended is not None:
            return
        try:
            received = self._control.recv(_MESSAGE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received:
            self._ended = {"ended": -signal.SIGKILL, "by": "exit"}
            return
        *lines, self._received = (self._received + received).split(b"\n")
        self._take(lines)

    def _take(self, lines: list[bytes]) -> None:
        for line in lines:
            message = json.loads(line)
            if "ended" in message:
                self._ended = message

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            self._control.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return  # it has ended, and everything with it

    def _await_end(self, limit_s: float) -> None:
        self._read(limit_s)
        if self._ended is None:
            self._ended = {"ended": -signal.SIGKILL, "by": "stop"}
        try:
            self._supervisor.wait(limit_s)
        except subprocess.TimeoutExpired:
            # What is in a PID namespace ends with its first process, and that with the supervisor.
            self._supervisor.kill()
            self._supervisor.wait()


def _unavailable(reason: str) -> OrderError:
    return OrderError(
        "algorithm_unavailable",
        f"the program cannot be started: {reason}",
        hint="`slidelane doctor` says what this machine grants to programs",
        blame="platform",
    )


def _start_supervisor(control: int, ring: int) -> "subprocess.Popen[bytes]":
    """Start the process; the signals that stop a worker are blocked in it from the beginning."""
    with stop_signals_blocked():
        return subprocess.Popen(
            [sys.executable, "-m", _MODULE, str(control), str(ring)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[control, ring],
            start_new_session=True,
            env=_environment(),
        )


def _environment() -> dict[str, str]:
    """Return the supervisor's environment: where its libraries are, and no secrets."""
    environment = {name: os.environ[name] for name in _INHERITED_VARIABLES if name in os.environ}
    environment["PYTHONPATH"] = import_path()
    return environment


def import_path() -> str:
    """Return `PYTHONPATH` for a process of ours."""
    own = str(Path(__file__).parents[3])
    inherited = os.environ.get("PYTHONPATH")
    if inherited:
        return f"{own}{os.pathsep}{inherited}"
    return own


def _end(supervisor: "subprocess.Popen[bytes]", control: socket.socket, ring: int) -> None:
    """Have the supervisor end everything, as it does when its connection is closed."""
    control.close()
    os.close(ring)
    try:
        supervisor.wait(_KILL_S)
    except subprocess.TimeoutExpired:
        supervisor.kill()
        supervisor.wait()
