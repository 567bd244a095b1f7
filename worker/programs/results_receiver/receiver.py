"""The local server of one run: threads that accept its connections, until the run has ended."""

import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from threading import BoundedSemaphore, Lock, Thread
from typing import Final, Self

from worker.programs.results_receiver.connection import answer_connection
from worker.programs.results_receiver.run_server import RunServer

MAX_CONNECTIONS: Final = 64
_BACKLOG: Final = 64
_LAST_ANSWERS_S: Final = 10.0
"""How long a connection may take to end once its program has: a post may still be looked at."""


def listen(host: str, port: int = 0) -> socket.socket:
    """Return a socket that listens on this machine; port 0 = any. Raise `OSError`."""
    return socket.create_server((host, port), backlog=_BACKLOG)


class ResultsReceiver:
    """Answers the program of one run while the context lasts.

    `plain` are sockets for HTTP and for CONNECT, `encrypted` those on which Techcyte's own name is
    reached. They are closed with the context, and so is every connection.
    """

    def __init__(
        self,
        run: RunServer,
        plain: Sequence[socket.socket],
        encrypted: Sequence[socket.socket] = (),
    ) -> None:
        self._run = run
        self._listeners = [(one, False) for one in plain] + [(one, True) for one in encrypted]
        self._free = BoundedSemaphore(MAX_CONNECTIONS)
        self._open: dict[socket.socket, Thread] = {}
        self._lock = Lock()
        self._is_closing = False
        self._threads: list[Thread] = []

    def __enter__(self) -> Self:
        for listener, is_encrypted in self._listeners:
            listener.settimeout(None)
            thread = Thread(
                target=self._accept, args=(listener, is_encrypted), name="program-accept"
            )
            thread.daemon = True
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_error: object) -> None:
        """Take no more connections; let those that are open end with what they have sent."""
        self._is_closing = True
        for listener, _ in self._listeners:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in `accept`
            listener.close()
        for thread in self._threads:
            thread.join()
        deadline = time.monotonic() + _LAST_ANSWERS_S
        for connection, thread in self._connections():
            thread.join(max(0.0, deadline - time.monotonic()))
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _connections(self) -> list[tuple[socket.socket, Thread]]:
        with self._lock:
            return list(self._open.items())

    def _accept(self, listener: socket.socket, is_encrypted: bool) -> None:  # noqa: FBT001 - of Thread
        while not self._is_closing:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            if not self._free.acquire(blocking=False):
                connection.close()  # too many at a time: the program tries again, or fails
                continue
            thread = Thread(
                target=self._answer, args=(connection, is_encrypted), name="program-connection"
            )
            thread.daemon = True
            with self._lock:
                self._open[connection] = thread
            thread.start()

    def _answer(self, connection: socket.socket, is_encrypted: bool) -> None:  # noqa: FBT001 - of Thread
        try:
            answer_connection(connection, self._run, is_encrypted=is_encrypted)
        finally:
            with self._lock:
                self._open.pop(connection, None)
            with suppress(OSError):
                connection.close()
            self._free.release()
