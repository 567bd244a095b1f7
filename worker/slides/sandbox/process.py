"""A process that decodes one slide, seen from the worker: its requests and its end.

Decides what the end of the process means. Does not trust its answers, since a hostile slide may
control it. The process runs `worker.slides.sandbox.decoder`.
"""

import json
import signal
import socket
import sys
import weakref
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

from pydantic import ValidationError

from broker.errors import TemporaryError
from worker.geometry.frame import Pixels
from worker.slides.errors import SlideDecodingError
from worker.slides.sandbox.answers import Answer
from worker.slides.sandbox.messages import ProtocolError, receive, send
from worker.slides.sandbox.server import DecoderServer, ForkedProcess, ServerEndedError
from worker.slides.sandbox.shared_memory import SharedPixels

INVALID_ANSWER: Final = "its decoder gives impossible answers"

_EXIT_TIMEOUT_S: Final = 5.0
_SIGNALS_FROM_OUTSIDE: Final = frozenset(
    {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
)
# C++ and GLib end a process in these ways when an allocation fails.
_SIGNALS_OF_FAILED_ALLOCATIONS: Final = frozenset({signal.SIGABRT, signal.SIGTRAP})
_MORE_MEMORY: Final = "more memory than worker.limits.decode_bytes allows"


class DecoderProcess:
    """A running decoder process and the connections to it.

    There is one connection for each thread, so that threads can send requests at the same time, and
    one more over which each process notices the end of the other. `pixels` is the memory that the
    process can write decoded tiles into.
    """

    def __init__(
        self, server: DecoderServer, path: Path, threads: int, max_bytes: int, read_s: float
    ) -> None:
        """Have the server fork the process for the slide at `path`, links resolved.

        Raises `TemporaryError` where it cannot, `RuntimeError` where it does not start.
        """
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
        descriptors = [self.pixels.fd, *(end.fileno() for end in remote_ends)]
        try:
            self._process = server.fork(path, max_bytes, descriptors)
        except ServerEndedError as error:
            _close(local_ends, self.pixels)
            raise _meaning_of_servers_end(error) from None
        except BaseException:
            _close(local_ends, self.pixels)
            raise
        finally:
            for end in remote_ends:
                end.close()
        self.id = self._process.id
        self.end = weakref.finalize(self, _end, self._process, local_ends, self.pixels)
        """Kill the process and close everything that belongs to it."""

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
        except TimeoutError:
            return self._kill_because("its decoder no longer answers")
        if self._failure:
            return SlideDecodingError(self._failure)
        if status is None:
            return _ended_from_outside("with the process that had forked it")
        if status > 0 and not self._has_started():
            return RuntimeError(
                "the system does not let the process that reads slides give up its rights "
                f"(exit status {status}; `slidelane doctor` says what it grants)"
            )
        return _meaning_of(status)

    def _has_started(self) -> bool:
        """Whether the process got as far as sending its first byte."""
        try:
            return bool(self._lifeline.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK))
        except OSError:
            return False


def _meaning_of(status: int) -> Exception:
    """Return the error that the exit status of a process that had started stands for."""
    described = _describe_status(status)
    if -status in _SIGNALS_FROM_OUTSIDE:
        return _ended_from_outside(described)
    crash = f"its decoder crashed ({described})"
    if -status in _SIGNALS_OF_FAILED_ALLOCATIONS:
        return SlideDecodingError(f"{crash}, perhaps because it wanted {_MORE_MEMORY}")
    return SlideDecodingError(crash)


def _meaning_of_servers_end(error: ServerEndedError) -> Exception:
    """Return the error that the end of the server stands for, which is no fault of a slide."""
    status = error.status
    if status is None:
        return TemporaryError(
            "out_of_memory", "the process that forks the readers of slides did not answer in time"
        )
    if status > 0 and not error.had_started:
        return _does_not_start(status)
    return _ended_from_outside(_describe_status(status))


def _does_not_start(status: int) -> RuntimeError:
    command = f"{sys.executable} -c 'import worker.slides.sandbox.fork_server'"
    return RuntimeError(
        f"the process that reads slides does not start (exit status {status}; try: {command})"
    )


def _ended_from_outside(how: str) -> TemporaryError:
    return TemporaryError(
        "out_of_memory",
        f"the process that reads the slide was ended from outside ({how}), "
        "as the system does when memory is short",
    )


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


def _end(process: ForkedProcess, connections: list[socket.socket], pixels: SharedPixels) -> None:
    """Kill the process, wait for its end and close every descriptor that belongs to it."""
    process.kill()
    with suppress(TimeoutError):
        process.wait(_EXIT_TIMEOUT_S)
    process.close()
    _close(connections, pixels)


def _close(connections: list[socket.socket], pixels: SharedPixels) -> None:
    pixels.close()
    for connection in connections:
        connection.close()
