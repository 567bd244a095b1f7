"""The first process of a run: makes the namespaces, starts the program, and waits for its end.

In a PID namespace it is process 1, which adopts what others leave behind; its own end is the end of
all of them. It tells the supervisor what happens by lines of JSON: `{"failed": TEXT}`,
`{"ready": true}`, `{"started": true}` and `{"exited": WAIT_STATUS}`.
"""

import errno
import json
import os
import resource
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

from worker import linux
from worker.programs.isolation.namespaces import (
    RefusedError,
    enter_file_namespace,
    enter_network_namespace,
)
from worker.programs.isolation.request import Request

_NO_PROGRAM: Final = 127


class FirstProcess:
    """What is to be done in the first process of a run.

    `control` leads to the worker, `status` to the supervisor, and the program prints into
    `printed`. `cores` are those that it may use. All are closed in the program.
    """

    def __init__(
        self,
        request: Request,
        control: socket.socket,
        status: int,
        printed: int,
        cores: Sequence[int],
    ) -> None:
        self._request = request
        self._control = control
        self._status = status
        self._printed = printed
        self._cores = cores
        self._program = 0

    def run(self, supervisor_id: int) -> NoReturn:
        """Do it; never return to the code of the supervisor.

        `supervisor_id` is the supervisor's process id as this process sees it: 0 from within a PID
        namespace.
        """
        try:
            linux.end_with_parent(supervisor_id, signal.SIGKILL)
            # Fails where the supervisor ended before the line above: nobody reads there any more.
            os.write(self._status, b'{"ready": true}\n')
            self._set_up()
            self._start_program()
            self._wait()
        except RefusedError as error:
            self._tell({"failed": str(error)})
        except BaseException as error:  # noqa: BLE001 - the supervisor is told, and it ends
            self._tell({"failed": f"{type(error).__name__}: {error}"})
        finally:
            os._exit(0)

    def _set_up(self) -> None:
        """Make the namespaces, and send the sockets that listen in them to the worker."""
        # A handler lets process 1 of a namespace get the signal at all.
        signal.signal(signal.SIGTERM, self._pass_on)
        request = self._request
        if request.own_network:
            listeners = enter_network_namespace(request.listen)
            descriptors = [listener.fileno() for listener in listeners]
            socket.send_fds(self._control, [b'{"listening": true}\n'], descriptors)
            for listener in listeners:
                listener.close()
        if request.namespaces:
            enter_file_namespace(request)
        self._control.close()

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        """Send the signal to the program and what is in its session."""
        if self._program:
            with suppress(ProcessLookupError):
                os.killpg(self._program, number)

    def _start_program(self) -> None:
        """Start the program. Raises RefusedError where it cannot be executed."""
        failure, failed = os.pipe()
        # Until the program is known, no signal can be passed on to it.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        program = os.fork()
        if program == 0:
            _execute(self._request, self._printed, failed, self._cores)
        self._program = program
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        os.close(failed)
        os.close(self._printed)
        reason = os.read(failure, 4096).decode()
        if reason:
            raise RefusedError(reason)
        self._tell({"started": True})

    def _wait(self) -> None:
        """Collect ended processes until the program has ended."""
        while True:
            with suppress(InterruptedError):
                ended, wait_status = os.wait()
                if ended == self._program:
                    self._tell({"exited": wait_status})
                    return

    def _tell(self, message: dict[str, Any]) -> None:
        with suppress(OSError):
            os.write(self._status, json.dumps(message).encode() + b"\n")


def _execute(request: Request, printed: int, failed: int, cores: Sequence[int]) -> NoReturn:
    """Become the program, or write why not to `failed`."""
    reason = ""
    try:
        os.setsid()
        _take_descriptors(printed)
        _be_killed_first()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it would hold a patient's tissue
        if cores:
            os.sched_setaffinity(0, cores)
        os.umask(0o022)
        os.chdir(request.folder)
        _reset_signals()
        if request.confined:
            linux.drop_capabilities()
            linux.forbid_new_privileges()
        os.execvpe(request.argv[0], request.argv, request.environment)  # noqa: S606 - no shell
    except FileNotFoundError:
        reason = f"there is no program {request.argv[0]}"
    except OSError as error:
        reason = f"{request.argv[0]} cannot be executed: {error.strerror}"
        if error.errno == errno.ENOEXEC:
            reason += "; a script begins with #! and its interpreter"
    except BaseException as error:  # noqa: BLE001 - told, and the process ends
        reason = f"{type(error).__name__}: {error}"
    finally:
        with suppress(OSError):
            os.write(failed, reason.encode()[:4096])
        os._exit(_NO_PROGRAM)


def _take_descriptors(printed: int) -> None:
    """Read nothing, and print into the pipe."""
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(printed, 1)
    os.dup2(printed, 2)


def _reset_signals() -> None:
    """Let every signal do what it does in a program that a shell starts."""
    for number in signal.Signals:
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


def _be_killed_first() -> None:
    """Have the kernel choose this program where memory is short: it, not a worker, takes it."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
