"""Watches over one run, and ends all that it has started.

Messages of the worker are lines of JSON: `{"stop": GRACE_S}` and `{"kill": true}`. Messages to the
worker: `{"started": true}` or `{"failed": TEXT}`, and then `{"ended": EXIT_CODE, "by": REASON}`.
"""

import fcntl
import json
import os
import selectors
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, suppress
from math import ceil
from pathlib import Path
from typing import Any, Final, NoReturn

from worker.linux import adopt_orphans, forbid_inspection
from worker.process.process_tree import descendants, is_alive
from worker.programs.interface import EndedBy
from worker.programs.isolation.cgroup import Cgroup
from worker.programs.isolation.first_process import FirstProcess
from worker.programs.isolation.namespaces import RefusedError, enter_process_namespace
from worker.programs.isolation.output import OutputLog
from worker.programs.isolation.request import Request
from worker.programs.isolation.shared_tmp import SharedTmp
from worker.programs.isolation.watch import (
    remove_folder,
    reserved_cores,
    takes_too_much_disk,
    takes_too_much_memory,
)

_POLL_S: Final = 0.1
_LIMIT_GRACE_S: Final = 5.0
"""How long a program may take to end after its time limit."""
_COUNT_S: Final = 0.25
_LAST_S: Final = 60.0
_LAST_LINES: Final[dict[EndedBy, str]] = {
    "time_limit": "its time was over",
    "memory": "it took more memory than it may, or than the machine had free",
    "disk": "it took more of the disk than it may, or than was free",
}
"""What stands at the end of the output of a program that was ended."""
_KILL_ROUNDS: Final = 1000
_PIPE_BYTES: Final = 2**20
_MESSAGE_BYTES: Final = 65536


class Supervisor:
    """The supervisor of one run. `control` is its connection to the worker."""

    def __init__(self, request: Request, control: socket.socket, ring: int) -> None:
        self._request = request
        self._control = control
        self._log = OutputLog(Path(request.output), ring, request.max_output_bytes)
        self._received = b""
        self._reported = b""
        self._status, self._first_status = os.pipe()
        self._output, self._printed = os.pipe()
        with suppress(OSError):  # a larger pipe only saves time; users may have used up theirs
            fcntl.fcntl(self._output, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._first_process = 0
        """Its process id, 0 before its beginning and after its end."""
        self._has_forked = False
        self._exit_code: int | None = None
        self._ended_by: EndedBy = ""
        self._kill_at = float("inf")
        self._worker_is_there = True
        self._looked_at = 0.0
        self._counted_at = 0.0
        self._began_at = time.monotonic()

    def run(self) -> None:
        """Run the program, and return when nothing of it is left."""
        with ExitStack() as stack:
            adopt_orphans()
            cgroup = stack.enter_context(Cgroup.created(self._request))
            if self._request.shares_tmp:
                shared_tmp = stack.enter_context(SharedTmp(Path(self._request.scratch).parent))
                self._tell({"started": True})
                self._await_turn(shared_tmp)
            cores: list[int] = []
            if self._request.cpus is not None:
                cores = reserved_cores(ceil(self._request.cpus), stack)
            try:
                self._fork(cores, cgroup)
                self._serve(cgroup)
            except RefusedError as error:
                self._fail(str(error))
            finally:
                self._end_all(cgroup)
                self._log.finish()
        if self._exit_code is None:
            self._exit_code = -signal.SIGKILL
        if not self._worker_is_there:
            # Nobody else is there to remove it.
            remove_folder(Path(self._request.scratch))
        self._tell({"ended": self._exit_code, "by": self._ended_by})

    def _await_turn(self, shared_tmp: SharedTmp) -> None:
        """Wait until no other program uses /tmp, or this one is not wanted any more."""
        self._control.setblocking(False)
        while not shared_tmp.is_ours() and not self._ended_by:
            time.sleep(_POLL_S)
            self._obey()

    def _fork(self, cores: list[int], cgroup: Cgroup) -> None:
        """Start the first process, in whose cgroup and namespaces the program will be."""
        if self._ended_by:
            return
        supervisor_id = os.getpid()
        if self._request.namespaces:
            enter_process_namespace()
            supervisor_id = 0
        self._first_process = os.fork()
        if self._first_process == 0:
            self._be_first_process(cores, cgroup, supervisor_id)
        self._has_forked = True
        forbid_inspection()
        os.close(self._first_status)
        os.close(self._printed)
        self._began_at = time.monotonic()

    def _be_first_process(self, cores: list[int], cgroup: Cgroup, supervisor_id: int) -> NoReturn:
        """Go on as the first process of the run."""
        try:
            cgroup.enter()
            os.close(self._status)
            os.close(self._output)
            first = FirstProcess(
                self._request, self._control, self._first_status, self._printed, cores
            )
            first.run(supervisor_id)
        finally:
            os._exit(os.EX_OSERR)

    def _serve(self, cgroup: Cgroup) -> None:
        """Do what is due until the program has ended. Raises RefusedError where it cannot start."""
        if not self._has_forked:
            return
        self._control.setblocking(False)
        os.set_blocking(self._output, False)
        os.set_blocking(self._status, False)
        with selectors.DefaultSelector() as selector:
            for descriptor in (self._output, self._status, self._control.fileno()):
                selector.register(descriptor, selectors.EVENT_READ)
            while self._exit_code is None:
                for key, _ in selector.select(_POLL_S):
                    if not self._serve_descriptor(key.fd):
                        selector.unregister(key.fd)
                now = time.monotonic()
                if now - self._looked_at >= _POLL_S:  # not after each piece of a printed gigabyte
                    self._looked_at = now
                    self._watch(now, cgroup)
                    self._reap()

    def _serve_descriptor(self, descriptor: int) -> bool:
        """Read what is there; return False where nothing will come any more."""
        if descriptor == self._output:
            return self._copy_output()
        if descriptor == self._status:
            return self._read_status()
        self._obey()
        return self._worker_is_there

    def _obey(self) -> None:
        """Do what the worker wants; its end is a wish to kill."""
        try:
            received = self._control.recv(_MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received:
            self._worker_is_there = False
            self._end("stop", grace_s=0)
            return
        *lines, self._received = (self._received + received).split(b"\n")
        for line in lines:
            self._end("stop", grace_s=json.loads(line).get("stop", 0))

    def _end(self, reason: EndedBy, *, grace_s: float) -> None:
        """Have the program end within `grace_s`; the first reason counts."""
        if not self._ended_by:
            self._ended_by = reason
            if grace_s > 0 and self._first_process:
                with suppress(ProcessLookupError):
                    os.kill(self._first_process, signal.SIGTERM)
        self._kill_at = min(self._kill_at, time.monotonic() + grace_s)

    def _watch(self, now: float, cgroup: Cgroup) -> None:
        """End the program where it takes too much, or does not end when told to."""
        request = self._request
        if now >= self._kill_at:
            self._exit_code = -signal.SIGKILL
            return
        if now - self._began_at >= request.time_limit_s:
            self._end("time_limit", grace_s=_LIMIT_GRACE_S)
        if cgroup.was_out_of_memory():
            self._end("memory", grace_s=0)
        if now - self._counted_at >= _COUNT_S:
            self._counted_at = now
            if takes_too_much_disk(Path(request.scratch), request.disk_bytes):
                self._end("disk", grace_s=0)
        if not request.watches_memory:
            return
        tree = [one for one in descendants(os.getpid()) if one != self._first_process]
        if takes_too_much_memory(tree, request.memory_bytes):
            self._end("memory", grace_s=0)

    def _copy_output(self) -> bool:
        try:
            printed = os.read(self._output, self._log.most_bytes)
        except BlockingIOError:
            return True
        self._log.add(printed)
        return bool(printed)

    def _read_status(self) -> bool:
        """Take what the first process says. Raises RefusedError where it could not do its work."""
        try:
            received = os.read(self._status, _MESSAGE_BYTES)
        except BlockingIOError:
            return True
        *lines, self._reported = (self._reported + received).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "failed" in message:
                raise RefusedError(message["failed"])
            if "started" in message and not self._request.shares_tmp:
                self._tell({"started": True})
            if "exited" in message:
                self._exit_code = os.waitstatus_to_exitcode(message["exited"])
        if not received and self._exit_code is None:
            self._exit_code = -signal.SIGKILL  # somebody has killed the first process
        return bool(received)

    def _fail(self, reason: str) -> None:
        if self._request.shares_tmp:  # it counts as started
            self._log.add(f"{reason}\n".encode())
            self._exit_code = os.EX_UNAVAILABLE
        else:
            self._tell({"failed": reason})

    def _reap(self) -> None:
        """Collect the ends of processes that this one has adopted."""
        with suppress(ChildProcessError):
            while True:
                ended, _ = os.waitpid(-1, os.WNOHANG)
                if not ended:
                    return
                if ended == self._first_process:
                    self._first_process = 0

    def _end_all(self, cgroup: Cgroup) -> None:
        """Kill all that is left, and keep what was printed until then."""
        if not self._ended_by:
            self._ended_by = "exit"
        self._run_last_commands()
        cgroup.kill()
        self._kill_tree()
        # Again, for what the program was just making when it was killed.
        self._run_last_commands()
        if self._has_forked:
            self._drain()
        if self._ended_by in _LAST_LINES:
            self._log.add(f"\nslidelane: ended, because {_LAST_LINES[self._ended_by]}\n".encode())

    def _run_last_commands(self) -> None:
        if not self._has_forked:
            return
        for command in self._request.last_commands:
            with suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(
                    command,
                    env=self._request.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    timeout=_LAST_S,
                    check=False,
                )

    def _kill_tree(self) -> None:
        """Kill everything below this process, until nothing is left."""
        if self._first_process and self._request.namespaces:
            with suppress(ProcessLookupError):
                os.kill(self._first_process, signal.SIGKILL)
        for _ in range(_KILL_ROUNDS):
            left = [one for one in descendants(os.getpid()) if is_alive(one)]
            if not left:
                break
            # All are stopped first: else one may start others while the rest is killed.
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for process_id in left:
                    with suppress(ProcessLookupError):
                        os.kill(process_id, number)
            time.sleep(0.001)
            self._reap()
        self._reap()

    def _drain(self) -> None:
        """Copy what is in the pipe now; nobody writes any more."""
        os.set_blocking(self._output, False)
        with suppress(BlockingIOError):
            while True:
                printed = os.read(self._output, self._log.most_bytes)
                if not printed:
                    return
                self._log.add(printed)

    def _tell(self, message: dict[str, Any]) -> None:
        self._control.setblocking(True)
        with suppress(OSError):
            self._control.sendall(json.dumps(message).encode() + b"\n")
        self._control.setblocking(False)
