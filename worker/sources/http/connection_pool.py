"""The connections of one download.

One at first, a second to see whether the server accepts more, then the others.
"""

import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Self

import requests

from worker.slide_cache.partial_file import PartialFile
from worker.sources.http.blocks import Blocks
from worker.sources.http.connection import Connection
from worker.sources.http.remote_file import RemoteFile, Version


class ConnectionPool:
    """At most `max_connections`, each in a thread of its own.

    All have ended when the context ends.
    """

    def __init__(
        self,
        remote: RemoteFile,
        version: Version,
        blocks: Blocks,
        part: PartialFile,
        limit_bytes: int,
        max_connections: int,
    ) -> None:
        self._remote = remote
        self._version = version
        self._blocks = blocks
        self._part = part
        self._limit_bytes = limit_bytes
        self._max_connections = max_connections
        self._connections: list[Connection] = []
        self._running: set[Future[str]] = set()
        self._threads = ThreadPoolExecutor(max_connections, "download")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for connection in self._connections:
            connection.end()
        self._threads.shutdown()

    def start(self, response: requests.Response | None = None) -> Future[str]:
        """Start a connection. `response`, if any, continues the file where bytes are missing first.

        The result is why the connection ended early, or an empty text.
        """
        connection = Connection(
            self._remote, self._version, self._blocks, self._part, self._limit_bytes
        )
        self._connections.append(connection)
        job = self._threads.submit(connection.run, response, self._blocks.front)
        self._running.add(job)
        return job

    @property
    def running(self) -> bool:
        """Whether bytes are missing and a connection may still receive them."""
        return bool(self._running) and not self._blocks.complete

    def wait(self, seconds: float) -> None:
        """Wait for a connection to end, end those that stall, and start more if accepted.

        Raises what a connection raised.
        """
        ended, self._running = wait(self._running, seconds, FIRST_COMPLETED)
        for job in ended:
            job.result()
        now = time.monotonic()
        for connection in self._connections:
            connection.check_pace(now)
        self._start_more()

    def _start_more(self) -> None:
        max_connections = min(self._max_connections, 2)
        if any(connection.accepted for connection in self._connections[1:]):
            max_connections = self._max_connections
        while len(self._connections) < max_connections:
            self.start()
