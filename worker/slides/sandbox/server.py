"""The server that forks decoder processes, seen from the worker: its start, its forks and its end.

The server runs `worker.slides.sandbox.__main__`.
"""

import json
import os
import socket
import subprocess
import sys
import weakref
from pathlib import Path
from threading import Lock
from typing import Final

from broker.errors import TemporaryError
from worker.slides.sandbox.messages import receive_number, send, send_descriptors
from worker.stop_signals import stop_signals_blocked

_START_S: Final = 60.0
_END_S: Final = 5.0
_INHERITED_VARIABLES: Final = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH")
_SET_VARIABLES: Final = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    # With the defaults the memory for pixels returns to the kernel after every read, and each page
    # faults again at the next one.
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**27),
}


class ServerEndedError(Exception):
    """The server has ended; its exit status is `status`, None where it does not answer at all.

    `had_started`: it has forked a process before.
    """

    def __init__(self, status: int | None, *, had_started: bool) -> None:
        super().__init__(status)
        self.status = status
        self.had_started = had_started


class ForkedProcess:
    """A process that the server has forked. Threads may share it.

    `id` is its process id.
    """

    def __init__(self, status: socket.socket, process_id: int) -> None:
        self.id = process_id
        self._status = status
        self._lock = Lock()
        self._exit_status: int | None = None

    def kill(self) -> None:
        """Have the server kill the process, if it has not ended yet."""
        try:
            self._status.shutdown(socket.SHUT_WR)
        except OSError:
            return  # the server has closed its end, as it does when the process has ended

    def wait(self, timeout_s: float) -> int | None:
        """Wait until the process has ended and return its exit status, None if nobody knows it.

        A negative status is the number of a signal. The status is unknown where the server has
        ended, with which all of its processes end. Raises `TimeoutError`.
        """
        with self._lock:
            if self._exit_status is None:
                try:
                    self._exit_status = receive_number(self._status, timeout_s)
                except ConnectionError:
                    return None
            return self._exit_status

    def close(self) -> None:
        """Close the connection to the server. It kills the process if that is still running."""
        self._status.close()


class DecoderServer:
    """A running server. Threads may share it."""

    module = "worker.slides.sandbox"
    """The module that the server's process runs."""

    def __init__(self) -> None:
        """Start the process, which is ready after half a second of a core. Raises `OSError`."""
        self._lock = Lock()
        self._has_forked = False
        self._control, remote_control = socket.socketpair()
        with remote_control:
            self._process = _start(self.module, remote_control.fileno())
        self.id = self._process.pid
        self.end = weakref.finalize(self, _end, self._process, self._control)
        """End the process, and with it all that it has forked."""

    @property
    def is_alive(self) -> bool:
        """Whether the process is still running."""
        return self._process.poll() is None

    def fork(self, path: Path, max_bytes: int, descriptors: list[int]) -> ForkedProcess:
        """Return a new decoder process for the slide at `path`, links resolved.

        It may read that slide and take `max_bytes` of memory beside the shared pixels.
        It inherits copies of the descriptors: the shared pixels, the lifeline, and one connection
        for each reading thread. Raises `ServerEndedError`, and `TemporaryError` where the system
        allows no further process.
        """
        status, remote_status = socket.socketpair()
        try:
            with remote_status:
                self._request(path, max_bytes, [remote_status.fileno(), *descriptors])
            number = receive_number(status, _START_S)
        except OSError:
            status.close()
            raise self._error_of_its_end() from None
        self._has_forked = True
        if number < 0:
            status.close()
            raise TemporaryError(
                "out_of_memory",
                f"the system starts no process to read the slide in ({os.strerror(-number)})",
            )
        return ForkedProcess(status, number)

    def _request(self, path: Path, max_bytes: int, descriptors: list[int]) -> None:
        request = {
            "path": str(path),
            "max_bytes": max_bytes,
            "descriptors": len(descriptors),
        }
        with self._lock:
            send(self._control, json.dumps(request).encode())
            send_descriptors(self._control, descriptors)

    def _error_of_its_end(self) -> ServerEndedError:
        """Return the error of a server that does not answer, and end it where it still runs."""
        try:
            status = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.end()
            status = None
        return ServerEndedError(status, had_started=self._has_forked)


def _start(module: str, control_fd: int) -> subprocess.Popen[bytes]:
    """Start the process. The signals that stop a worker are blocked in it from the beginning."""
    with stop_signals_blocked():
        return subprocess.Popen(
            [sys.executable, "-m", module, str(control_fd)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # decoders quote what they read
            pass_fds=[control_fd],
            start_new_session=True,
            env=_environment(),
        )


def _environment() -> dict[str, str]:
    """Return the environment of the process: where its libraries are, and no secrets."""
    environment = {}
    for name in _INHERITED_VARIABLES:
        if name in os.environ:
            environment[name] = os.environ[name]
    environment.update(_SET_VARIABLES)
    import_path = str(Path(__file__).parents[3])
    inherited_path = os.environ.get("PYTHONPATH")
    if inherited_path:
        import_path = f"{import_path}{os.pathsep}{inherited_path}"
    environment["PYTHONPATH"] = import_path
    return environment


def _end(process: subprocess.Popen[bytes], control: socket.socket) -> None:
    """Kill the server. The processes that it has forked end by themselves."""
    process.kill()
    control.close()
    process.wait()
