"""Watches over the process that runs a site's code, and ends all that it has started.

The guard is forked off before any code of the site is loaded, and adopts every process that the
code leaves behind (PR_SET_CHILD_SUBREAPER), those that began a session of their own included. It
ends when its worker does, whose end closes the connection.

Messages of the worker are lines of JSON: `{"do": "begin", "log": PATH}`, `{"do": "end"}`,
`{"do": "kill"}`. Messages to the worker: `{"done": …}` after each of the first two, and
`{"ended": STATUS, "why": TEXT}` when the process has ended.
"""

import json
import mmap
import os
import selectors
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

LOG_BYTES: Final = 10 * 2**20
_CUT: Final = b"\n... cut\n"
_POLL_S: Final = 0.1
_READ_BYTES: Final = 2**20
_EARLY_BYTES: Final = 2**20
"""Of what is printed while the code is loaded, so much is kept for the log of the first scan."""
_RESERVE_BYTES: Final = 512 * 2**20
"""The memory of the machine that is left to others."""
_KILL_ROUNDS: Final = 1000
_PROC: Final = Path("/proc")


class Guard:
    """The guard of one process."""

    def __init__(
        self, process_id: int, control: socket.socket, output: int, memory_bytes: int
    ) -> None:
        """`output` is the reading end of the pipe that the process prints into."""
        self._process_id = process_id
        self._control = control
        self._output = output
        self._memory_bytes = memory_bytes
        self._log: BinaryIO | None = None
        self._logged_bytes = 0
        self._early = b""
        self._pending = b""
        self._status: int | None = None
        self._why = ""
        self._looked_at = 0.0
        self._selector = selectors.DefaultSelector()

    def run(self) -> None:
        """Serve until the worker has ended or closed the connection; then end everything."""
        os.set_blocking(self._output, False)
        self._control.setblocking(False)
        self._selector.register(self._output, selectors.EVENT_READ)
        self._selector.register(self._control, selectors.EVENT_READ)
        while self._serve_once():
            pass
        self._kill_all()

    def _serve_once(self) -> bool:
        """Do what is due; return whether the worker is still there."""
        for key, _ in self._selector.select(_POLL_S):
            if key.fileobj is self._control:
                if not self._obey():
                    return False
            elif not self._copy_output():
                self._selector.unregister(self._output)
        now = time.monotonic()
        if now - self._looked_at >= _POLL_S:  # not after each piece of a gigabyte that is printed
            self._looked_at = now
            self._reap()
            self._watch_memory()
        return True

    def _obey(self) -> bool:
        try:
            received = self._control.recv(_READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._pending += received
        *lines, self._pending = self._pending.split(b"\n")
        for line in lines:
            self._do(json.loads(line))
        return bool(received)

    def _do(self, request: dict[str, Any]) -> None:
        if request["do"] == "begin":
            self._begin_log(request["log"])
            self._tell({"done": 0})
        elif request["do"] == "end":
            killed = self._kill_strays()
            self._drain()
            self._tell({"done": self._end_log(), "killed": killed})
        elif request["do"] == "kill":
            self._kill_all()
            self._reap()

    def _begin_log(self, path: str) -> None:
        self._end_log()
        self._log = open(path, "wb")  # noqa: PTH123, SIM115 - closed by `_end_log`
        self._logged_bytes = 0
        early = self._early
        self._early = b""
        self._write(early)

    def _end_log(self) -> int:
        """Close the log and return how many bytes were printed since it was begun."""
        if self._log is None:
            return 0
        with suppress(OSError):
            self._log.close()
        self._log = None
        return self._logged_bytes

    def _copy_output(self) -> bool:
        """Copy what was printed; return False once nobody can print any more."""
        try:
            printed = os.read(self._output, _READ_BYTES)
        except BlockingIOError:
            return True
        if self._log is None:
            self._early = (self._early + printed)[:_EARLY_BYTES]
        else:
            self._write(printed)
        return bool(printed)

    def _write(self, printed: bytes) -> None:
        if self._log is None or not printed:
            return
        room = LOG_BYTES - self._logged_bytes
        self._logged_bytes += len(printed)
        if room <= 0:
            return
        with suppress(OSError):  # a full disk costs the log, not the scan
            self._log.write(printed[:room])
            if len(printed) > room:
                self._log.write(_CUT)
            self._log.flush()

    def _drain(self) -> None:
        """Copy what is in the pipe now."""
        while True:
            before = self._logged_bytes
            if not self._copy_output() or self._logged_bytes == before:
                return

    def _reap(self) -> None:
        """Collect ended processes; tell the worker about the end of its own one."""
        with suppress(ChildProcessError):
            while True:
                ended, wait_status = os.waitpid(-1, os.WNOHANG)
                if not ended:
                    return
                if ended == self._process_id:
                    self._status = os.waitstatus_to_exitcode(wait_status)
                    self._kill_strays()
                    self._drain()
                    self._tell({"ended": self._status, "why": self._why})

    def _tell(self, message: dict[str, Any]) -> None:
        self._control.setblocking(True)
        with suppress(OSError):
            self._control.sendall(json.dumps(message).encode() + b"\n")
        self._control.setblocking(False)

    def _watch_memory(self) -> None:
        """Kill the process where it takes more memory than it may, or than is free."""
        if self._status is not None:
            return
        taken_bytes = sum(map(anonymous_bytes, [self._process_id, *self._strays()]))
        if taken_bytes > self._memory_bytes:
            self._why = f"it took more than the {self._memory_bytes / 2**20:.0f} MB it may take"
        elif taken_bytes > _RESERVE_BYTES and available_bytes() < _RESERVE_BYTES:
            self._why = f"it took {taken_bytes / 2**20:.0f} MB, more than the machine had free"
        else:
            return
        self._kill_all()

    def _strays(self) -> list[int]:
        """Return the ids of all processes below this one, except the one that is watched."""
        return [child for child in descendants(os.getpid()) if child != self._process_id]

    def _kill_strays(self) -> int:
        """Kill whatever the site's code has started, until nothing is left; return how many."""
        killed: set[int] = set()
        for _ in range(_KILL_ROUNDS):
            strays = [stray for stray in self._strays() if is_alive(stray)]
            if not strays:
                break
            for stray in strays:
                _kill(stray, signal.SIGSTOP)  # else one may start others while the rest is killed
            for stray in strays:
                _kill(stray, signal.SIGKILL)
            killed.update(strays)
            self._collect(strays)
        return len(killed)

    def _collect(self, strays: list[int]) -> None:
        """Wait a moment for the ends of processes, and collect those that this one has adopted."""
        for stray in strays:
            with suppress(ChildProcessError):
                os.waitpid(stray, os.WNOHANG)
        time.sleep(0.001)

    def _kill_all(self) -> None:
        if self._status is None:
            _kill(self._process_id, signal.SIGKILL)
        self._kill_strays()


def descendants(process_id: int) -> list[int]:
    """Return the ids of a process's children and all that they have started."""
    found: list[int] = []
    waiting = [process_id]
    while waiting:
        parent = waiting.pop()
        for thread in _threads(parent):
            with suppress(OSError), open(f"/proc/{parent}/task/{thread}/children") as file:  # noqa: PTH123
                children = [int(child) for child in file.read().split()]
                found.extend(children)
                waiting.extend(children)
    return found


def _threads(process_id: int) -> list[str]:
    """Return the ids of a process's threads; nothing where it has ended."""
    try:
        return os.listdir(f"/proc/{process_id}/task")  # noqa: PTH208
    except OSError:
        return []


def is_alive(process_id: int) -> bool:
    """Return whether the process still runs: it is neither gone nor waiting to be collected."""
    try:
        state = _PROC.joinpath(str(process_id), "stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in ("Z", "X")


def anonymous_bytes(process_id: int) -> int:
    """Return the memory of a process that it shares with nobody, 0 where it has ended."""
    try:
        with open(f"/proc/{process_id}/statm") as file:  # noqa: PTH123 - ten times a second
            _, resident, shared, *_ = file.read().split()
    except OSError:
        return 0
    return (int(resident) - int(shared)) * mmap.PAGESIZE


def used_s(guard_id: int) -> float:
    """Return the seconds of all cores that a guard's processes have used, with those that ended."""
    ticks = sum(_ticks(guard_id)[2:])
    for process_id in descendants(guard_id):
        ticks += sum(_ticks(process_id))
    return ticks / os.sysconf("SC_CLK_TCK")


def _ticks(process_id: int) -> list[int]:
    """Return utime, stime, cutime and cstime of proc_pid_stat(5); nothing where it has ended."""
    try:
        text = _PROC.joinpath(str(process_id), "stat").read_text()
    except OSError:
        return []
    return [int(field) for field in text.rpartition(")")[2].split()[11:15]]


def available_bytes() -> int:
    """Return the memory of the machine that is free to be taken."""
    return _kilobytes(_PROC.joinpath("meminfo").read_text(), "MemAvailable:") * 1024


def _kilobytes(text: str, name: str) -> int:
    for line in text.splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0


def _kill(process_id: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(process_id, number)
