"""A process that decodes one slide, seen from the worker: its start, its requests and its end.

Decides what the end of the process means. Does not trust its answers, since a hostile slide may
control it. The process runs `worker.slides.sandbox.__main__`.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import weakref
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from broker.errors import TemporaryError
from worker.geometry.frame import Frame, Pixels
from worker.slides.errors import NotASlideError, SlideDecodingError, UnreadableSlideError
from worker.slides.sandbox.messages import ProtocolError, receive, send
from worker.slides.sandbox.shared_memory import SharedPixels

INVALID_ANSWER: Final = "its decoder gives impossible answers"

_EXIT_TIMEOUT_S: Final = 5.0
_SIGNALS_FROM_OUTSIDE: Final = frozenset(
    {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
)
_BLOCKED_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
# C++ and GLib end a process in these ways when an allocation fails.
_SIGNALS_OF_FAILED_ALLOCATIONS: Final = frozenset({signal.SIGABRT, signal.SIGTRAP})
_MORE_MEMORY: Final = "more memory than worker.limits.decode_bytes allows"
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


class _StrictModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class Refusal(_StrictModel):
    """An error of the slide file that the process reports."""

    code: Literal["not_a_slide", "slide_unreadable"]
    detail: str = Field(max_length=4000)
    hint: str = Field(max_length=4000)

    def as_error(self) -> NotASlideError | UnreadableSlideError:
        """Return the error as the class that stands for its code."""
        if self.code == "not_a_slide":
            return NotASlideError(self.detail, hint=self.hint)
        return UnreadableSlideError(self.detail, hint=self.hint)


class ReportedWarning(_StrictModel):
    """A reason to doubt what the slide shows."""

    code: str = Field(max_length=80)
    detail: str = Field(max_length=1000)


class Answer(_StrictModel):
    """An answer of the process. Everything else is refused."""

    frame: Frame | None = None
    reader: str = Field("", max_length=400)
    warnings: tuple[ReportedWarning, ...] = Field((), max_length=20)
    refusal: Refusal | None = None
    is_short_of_memory: bool = False
    bug: str = Field("", max_length=8000)


class DecoderProcess:
    """A running decoder process and the connections to it.

    There is one connection for each thread, so that threads can send requests at the same time, and
    one more over which each process notices the end of the other. `pixels` is the memory that the
    process can write decoded tiles into.
    """

    def __init__(self, threads: int, max_bytes: int, read_s: float) -> None:
        self.pixels = SharedPixels(threads)
        self._read_s = read_s
        self._failure = ""
        self._lifeline, remote_lifeline = socket.socketpair()
        self._idle_connections: SimpleQueue[socket.socket] = SimpleQueue()
        local_ends = [self._lifeline]
        remote_ends = [remote_lifeline]
        for _ in range(threads):
            local_end, remote_end = socket.socketpair()
            local_ends.append(local_end)
            remote_ends.append(remote_end)
            self._idle_connections.put(local_end)
        self._process = _start(max_bytes, self.pixels.fd, remote_ends)
        self.pixels.close_fd()
        self.id = self._process.pid
        self.end = weakref.finalize(self, _end, self._process, local_ends, self.pixels)
        """Kill the process and close everything that belongs to it."""

    @property
    def is_alive(self) -> bool:
        """Whether the process is still running."""
        return self._process.poll() is None

    def ask(self, request: dict[str, Any], into: Pixels | None = None) -> Answer:
        """Send a request and return its answer; the answer's pixels are written to `into`.

        Threads may call it at the same time. Raises `NotASlideError` or `UnreadableSlideError` that
        the process reports or that its end stands for, `TemporaryError` if it was killed from
        outside, and `RuntimeError` for a bug in it.
        """
        connection = self._idle_connections.get()
        try:
            answer, has_pixels = self._exchange(connection, request, into)
        except TimeoutError:
            reason = f"a part of it took longer than {self._read_s:g} s to decode"
            raise self._kill_because(reason) from None
        except (ProtocolError, ValidationError):
            raise self._kill_because(INVALID_ANSWER) from None
        except OSError:
            raise self._error_of_its_end() from None
        finally:
            self._idle_connections.put(connection)
        _raise_reported_error(answer)
        if into is not None and not has_pixels:
            raise self._kill_because(INVALID_ANSWER)
        return answer

    def _exchange(
        self, connection: socket.socket, request: dict[str, Any], into: Pixels | None
    ) -> tuple[Answer, bool]:
        connection.settimeout(self._read_s)
        send(connection, json.dumps(request).encode())
        message, has_pixels = receive(connection, into, self._read_s)
        return Answer.model_validate_json(message), has_pixels

    def _kill_because(self, reason: str) -> SlideDecodingError:
        """Kill the process and return the error, which later requests raise, too."""
        self._failure = reason
        self._process.kill()
        return SlideDecodingError(reason)

    def _error_of_its_end(self) -> Exception:
        """Return the error that the end of the process stands for."""
        try:
            status = self._process.wait(_EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return self._kill_because("its decoder no longer answers")
        if self._failure:
            return SlideDecodingError(self._failure)
        if status > 0 and not self._has_started():
            command = f"{sys.executable} -c 'import worker.slides.sandbox.__main__'"
            return RuntimeError(
                "the process that reads slides does not start "
                f"(exit status {status}; try: {command})"
            )
        if -status in _SIGNALS_FROM_OUTSIDE:
            return TemporaryError(
                "out_of_memory",
                "the process that reads the slide was ended from outside "
                f"({_describe_status(status)}), as the system does when memory is short",
            )
        crash = f"its decoder crashed ({_describe_status(status)})"
        if -status in _SIGNALS_OF_FAILED_ALLOCATIONS:
            return SlideDecodingError(f"{crash}, perhaps because it wanted {_MORE_MEMORY}")
        return SlideDecodingError(crash)

    def _has_started(self) -> bool:
        """Whether the process got as far as sending its first byte."""
        try:
            return bool(self._lifeline.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK))
        except OSError:
            return False


def _raise_reported_error(answer: Answer) -> None:
    if answer.refusal:
        raise answer.refusal.as_error()
    if answer.is_short_of_memory:
        raise SlideDecodingError(f"decoding it takes {_MORE_MEMORY}")
    if answer.bug:
        raise RuntimeError(f"the process that reads the slide: {answer.bug}")


def _describe_status(status: int) -> str:
    """Return an exit status in words; a negative one is a signal's number."""
    if status >= 0:
        return f"exit status {status}"
    for known in signal.Signals:
        if known == -status:
            return known.name
    return f"signal {-status}"


def _start(
    max_bytes: int, pixels_fd: int, remote_ends: list[socket.socket]
) -> subprocess.Popen[bytes]:
    """Start the process and close this process's copies of the `remote_ends`.

    The signals that stop a worker are blocked in it from its first moment on.
    """
    descriptors = [pixels_fd, *(end.fileno() for end in remote_ends)]
    blocked_before = signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED_SIGNALS)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker.slides.sandbox", str(max_bytes), *map(str, descriptors)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # decoders quote what they read
            pass_fds=descriptors,
            start_new_session=True,
            env=_environment(),
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked_before)
    for end in remote_ends:
        end.close()
    return process


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


def _end(
    process: subprocess.Popen[bytes], connections: list[socket.socket], pixels: SharedPixels
) -> None:
    """Kill the process, wait for its end and close every descriptor that belongs to it."""
    process.kill()
    pixels.close()
    for connection in connections:
        connection.close()
    process.wait()
