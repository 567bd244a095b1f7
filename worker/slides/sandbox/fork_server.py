"""Forks decoder processes, in the process that has loaded the readers of slides.

One request of the worker makes one decoder process. The worker gets that process's id and at last
its exit status over a connection of its own, and ends the process by closing that connection.
Several requests and ends are served by one thread, because a process with threads cannot fork
safely.
"""

import gc
import json
import os
import selectors
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

# Not used here: loaded once, so that no decoder process has to.
from worker.slides import image_reader as _image_reader  # noqa: F401
from worker.slides.dicom import checks as _dicom_checks  # noqa: F401
from worker.slides.dicom import reader as _dicom_reader  # noqa: F401
from worker.slides.sandbox.confinement.confine import confine, libraries
from worker.slides.sandbox.decoder import RequestHandler, decode
from worker.slides.sandbox.messages import (
    ProtocolError,
    receive,
    receive_descriptors,
    send_number,
)
from worker.slides.sandbox.shared_memory import map_shared_pixels
from worker.slides.sandbox.warm_up import warm_up
from worker.slides.slide_files import files_of
from worker.slides.tiff import aperio as _aperio  # noqa: F401
from worker.slides.tiff import reader as _tiff_reader  # noqa: F401

_SIGNALS_PER_READ: Final = 4096


class ForkServer:
    """Forks a decoder process for each request that comes over `control`.

    A request is JSON: the `path` of the slide, `max_bytes` of memory, and the number of
    `descriptors` that follow it. These are the connection for the exit status, the shared pixels,
    the lifeline, and one connection for each reading thread.
    """

    handler_class = RequestHandler
    """What answers the requests about a slide in the processes that are forked."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._id = os.getpid()
        self._libraries = libraries()
        self._ended, self._wake = socket.socketpair()
        self._status_of: dict[int, socket.socket] = {}
        self._selector = selectors.DefaultSelector()

    def run(self) -> None:
        """Serve requests until the worker has ended, then kill all decoder processes."""
        warm_up()
        gc.freeze()  # the collector would write to pages that are shared with every process
        self._ended.setblocking(False)
        self._wake.setblocking(False)
        signal.signal(signal.SIGCHLD, _ignore)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._control, selectors.EVENT_READ)
        self._selector.register(self._ended, selectors.EVENT_READ)
        with suppress(ConnectionError, ProtocolError):
            while True:
                for key, _ in self._selector.select():
                    self._serve(key)
        for pid in self._status_of:
            os.kill(pid, signal.SIGKILL)

    def _serve(self, key: selectors.SelectorKey) -> None:
        """Do what the connection with something to read is for. Raises `ConnectionError`."""
        if key.fileobj is self._control:
            self._fork_as_requested()
        elif key.fileobj is self._ended:
            with suppress(BlockingIOError):
                self._ended.recv(_SIGNALS_PER_READ)
            self._report_ends()
        else:
            self._kill(key.data)

    def _fork_as_requested(self) -> None:
        message, _ = receive(self._control)
        request: dict[str, Any] = json.loads(message)
        status_fd, *descriptors = receive_descriptors(self._control, request["descriptors"])
        status = socket.socket(fileno=status_fd)
        try:
            pid = os.fork()
        except OSError as error:
            _tell(status, -(error.errno or 1))
            status.close()
        else:
            if pid == 0:
                self._become_decoder(
                    Path(request["path"]), request["max_bytes"], status, descriptors
                )
            self._status_of[pid] = status
            self._selector.register(status, selectors.EVENT_READ, pid)
            _tell(status, pid)
        for fd in descriptors:
            os.close(fd)

    def _become_decoder(
        self, path: Path, max_bytes: int, status: socket.socket, descriptors: list[int]
    ) -> NoReturn:
        """Keep nothing of the server but what is loaded, and no right; then read the slide."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            self._close(status)
            pixels_fd, *connection_fds = descriptors
            lifeline, *connections = [socket.socket(fileno=fd) for fd in connection_fds]
            shared = map_shared_pixels(pixels_fd, len(connections))
            os.close(pixels_fd)
            readable = [*files_of(path), *self._libraries]
            confine(readable, max_bytes + shared.nbytes, self._id)
            decode(self.handler_class(shared), lifeline, connections)
        finally:
            os._exit(os.EX_NOPERM)  # it must never go on as a second server

    def _close(self, status: socket.socket) -> None:
        """Close all that is open in the server; `status` is the connection of a new process."""
        self._selector.close()
        own = (self._control, self._ended, self._wake)
        for connection in (*own, status, *self._status_of.values()):
            connection.close()

    def _kill(self, pid: int) -> None:
        """Kill a process unless it has ended: its worker has shut down the connection."""
        status = self._status_of.get(pid)
        if status is not None:
            self._selector.unregister(status)
            os.kill(pid, signal.SIGKILL)

    def _report_ends(self) -> None:
        """Tell the worker the exit status of every process that has ended."""
        with suppress(ChildProcessError):
            while True:
                pid, wait_status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                status = self._status_of.pop(pid)
                with suppress(KeyError):  # it was asked to kill the process
                    self._selector.unregister(status)
                _tell(status, os.waitstatus_to_exitcode(wait_status))
                status.close()


def _tell(status: socket.socket, number: int) -> None:
    """Send the worker a number unless it no longer listens."""
    with suppress(OSError):
        send_number(status, number)


def _ignore(*_: object) -> None:
    """Handle a signal whose number comes through the wake-up descriptor."""
