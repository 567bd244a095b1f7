"""The process that runs a site's code, as the worker sees it: requests, calls back, its end."""

import json
import os
import signal
import socket
import subprocess
import sys
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from select import select
from threading import Lock
from time import monotonic
from typing import Any, Final

from numpy.typing import NDArray

from broker.errors import OrderError
from worker.algorithms.answer_error import AlgorithmAnswerError
from worker.algorithms.python.messages import Arrays, MessageError, receive, send
from worker.algorithms.python.open_scan import OpenScan, Waiting
from worker.algorithms.python.patience import Computing, Patience

Received = tuple[dict[str, Any], dict[str, NDArray[Any]]]
_MODULE: Final = "worker.algorithms.python.host"
_TICK_S: Final = 0.25
_END_S: Final = 10.0
_MESSAGE_S: Final = 60.0
"""The longest that the rest of a message may take once it has begun."""
_PRIVATE_PREFIX: Final = "SLIDELANE_"
HINT: Final = (
    "the author of the algorithm corrects it, and tries it without a service by `slidelane run`"
)


class HostProcess:
    """A running process for the code of one entry."""

    def __init__(self, entry: str, threads: int, cores: int, memory_bytes: int) -> None:
        """Start the process. `threads` may classify at the same time.

        Raises OSError where the system starts none.
        """
        self._lock = Lock()
        self._ended: dict[str, Any] | None = None
        self._done: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._control_text = b""
        self._control, remote_control = socket.socketpair()
        pairs = [socket.socketpair() for _ in range(1 + threads)]
        self._main = pairs[0][0]
        self._idle: SimpleQueue[socket.socket] = SimpleQueue()
        for own, _ in pairs[1:]:
            self._idle.put(own)
        remote = [other.fileno() for _, other in pairs]
        request = {
            "entry": entry,
            "control": remote_control.fileno(),
            "connections": remote,
            "memory_bytes": memory_bytes,
        }
        try:
            guard = subprocess.Popen(
                [sys.executable, "-m", _MODULE, json.dumps(request)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[remote_control.fileno(), *remote],
                start_new_session=True,
                env=environment(max(1, cores // threads)),
            )
        finally:
            remote_control.close()
            for _, other in pairs:
                other.close()
        self.guard_id = guard.pid
        own_ends = [self._control, *[own for own, _ in pairs]]
        self.end = weakref.finalize(self, _end, guard, own_ends)
        """End the process and everything that it has started."""

    @property
    def is_alive(self) -> bool:
        """Whether the process can be asked."""
        self._read_control()
        return self.end.alive and self._ended is None

    def ask(
        self,
        fields: Mapping[str, Any],
        scan: Waiting,
        arrays: Arrays | None = None,
        descriptor: int | None = None,
    ) -> Received:
        """Have the process do what concerns a whole scan; `descriptor` is sent after the message.

        Raises OrderError for what the code does wrong, and StopWork.
        """
        return self._ask(self._main, fields, scan, arrays, descriptor)

    def ask_for_long(self, fields: Mapping[str, Any], scan: OpenScan) -> Received:
        """Have the process do what takes long and may report nothing. Raises as `ask`.

        That it uses a processor, or something that it has started does, counts as progress.
        """
        work = Computing(self.guard_id, scan)
        return self._ask(self._main, fields, scan, None, None, work)

    def ask_in_thread(
        self, fields: Mapping[str, Any], scan: Waiting, arrays: Arrays | None = None
    ) -> Received:
        """Have a thread of the process do it, as soon as one is free. Raises as `ask`."""
        with self._connection() as connection:
            return self._ask(connection, fields, scan, arrays, None)

    def begin_log(self, path: Path) -> None:
        """Write what is printed from now on to the file."""
        self._command({"do": "begin", "log": str(path)})

    def end_log(self) -> int:
        """End what the code has left running; return how many bytes were printed."""
        return int(self._command({"do": "end"}).get("done", 0))

    @contextmanager
    def _connection(self) -> Iterator[socket.socket]:
        connection = self._idle.get()
        try:
            yield connection
        finally:
            self._idle.put(connection)

    def _ask(
        self,
        connection: socket.socket,
        fields: Mapping[str, Any],
        scan: Waiting,
        arrays: Arrays | None,
        descriptor: int | None,
        work: Computing | None = None,
    ) -> Received:
        try:
            connection.settimeout(_MESSAGE_S)
            send(connection, fields, arrays)
            if descriptor is not None:
                socket.send_fds(connection, [b"d"], [descriptor])
            return _checked(*self._answer(connection, scan, work))
        except (MessageError, TimeoutError) as error:
            self.end()
            raise raised(f"its process sends what is no answer: {error}") from None
        except OSError:
            raise self._error_of_its_end() from None

    def _answer(self, connection: socket.socket, scan: Waiting, work: Computing | None) -> Received:
        """Return the answer; meanwhile do what the code calls for, and notice its end."""
        patience = Patience(scan)
        while True:
            is_readable = bool(select([connection], [], [], _TICK_S)[0])
            patience.look()
            if work is not None:
                work.look()
            if is_readable:
                fields, arrays = receive(connection)
                if "call" not in fields:
                    patience.check(fields)
                    return fields, arrays
                patience.answer(connection, fields)
            elif not self.is_alive:
                raise self._error_of_its_end()
            error = patience.error()
            if error is not None:
                self.end()
                raise error

    def _command(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Have the guard do something; an empty answer where it has ended."""
        deadline = monotonic() + _END_S
        with suppress(OSError):
            self._control.sendall(json.dumps(command).encode() + b"\n")
        while self._done.empty() and monotonic() < deadline and self.end.alive:
            select([self._control], [], [], _TICK_S)
            if not self._read_control():
                break
        if self._done.empty():
            return {}
        return self._done.get()

    def _read_control(self) -> bool:
        """Take what the guard says; return whether it is there."""
        with self._lock:
            try:
                received = self._control.recv(4096, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return True
            except OSError:
                received = b""
            if not received and self._ended is None:
                self._ended = {"ended": None, "why": ""}
            self._control_text += received
            *lines, self._control_text = self._control_text.split(b"\n")
            for line in lines:
                message = json.loads(line)
                if "ended" in message:
                    self._ended = message
                else:
                    self._done.put(message)
            return bool(received)

    def _error_of_its_end(self) -> OrderError:
        """Return the error that the end of the process stands for."""
        deadline = monotonic() + _END_S
        while self._ended is None and monotonic() < deadline and self.end.alive:
            select([self._control], [], [], _TICK_S)
            self._read_control()
        ended = self._ended or {"ended": None, "why": "it no longer answers"}
        if ended["why"]:
            return raised(f"its process was ended: {ended['why']}")
        return raised(f"its process ended with {_described(ended['ended'])}")


def raised(detail: str) -> OrderError:
    """Return the error of code that ends in another way than by an answer."""
    return OrderError("algorithm_raised", detail, hint=HINT)


def _checked(fields: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Received:
    """Return an answer. Raises OrderError where it is an error."""
    error = fields.get("error")
    if error is None:
        return fields, arrays
    if error["code"] == "algorithm_answer_invalid":
        raise AlgorithmAnswerError(
            error["detail"], "the author compares it with docs/python-api.md"
        )
    if error["code"] == "stopped":
        raise raised("it raises Stop, though the order was not cancelled")
    failure = raised(error["detail"])
    for line in error.get("lines", ()):
        failure.add_note(line)  # for the author, where the command line runs the code
    raise failure


def _described(status: int | None) -> str:
    if status is None:
        return "its worker's guard"
    if status >= 0:
        return f"exit status {status}"
    name = signal.Signals(-status).name
    if status == -signal.SIGKILL:
        return f"{name}, which the system sends when memory is short"
    return name


def environment(threads: int) -> dict[str, str]:
    """Return the environment for code of others: no setting of ours, which may be secret.

    `threads`: how many cores one call of a numerical library may use.
    """
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(_PRIVATE_PREFIX)
    }
    import_path = str(Path(__file__).parents[3])
    inherited = kept.get("PYTHONPATH")
    if inherited:
        import_path = f"{import_path}{os.pathsep}{inherited}"
    return kept | {
        "PYTHONPATH": import_path,
        "PYTHONFAULTHANDLER": "1",
        "OMP_NUM_THREADS": str(threads),
    }


def _end(guard: "subprocess.Popen[bytes]", connections: list[socket.socket]) -> None:
    """Have the guard kill everything; it ends as soon as its connection is closed."""
    for connection in connections:
        connection.close()
    try:
        guard.wait(_END_S)
    except subprocess.TimeoutExpired:
        guard.kill()
        guard.wait()
