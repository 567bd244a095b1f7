"""The connections that download a file together, block after block, and their pool."""

import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import Event
from types import TracebackType
from typing import Final, Self

import requests

from worker.http_session import READ_BYTES, cut_connection
from worker.slide_cache.partial_file import PartialFile
from worker.sources.errors import InputTooLargeError
from worker.sources.http.blocks import Block, Blocks
from worker.sources.http.remote_file import ContentChanged, RemoteFile, Version, content_range
from worker.sources.http.retrying_get import USEFUL_BYTES, ConnectionLost, read_available

_RESERVE_STEP_BYTES: Final = 2**22
_TIMEOUT_S: Final = (3.0, 3.0)  # a server need not accept a further connection
_PACE_INTERVAL_S: Final = 60.0
_PACE_BYTES: Final = 60_000


class Connection:
    """Writes blocks of a file into `part` until nothing is missing or `end` is called."""

    def __init__(
        self,
        remote: RemoteFile,
        version: Version,
        blocks: Blocks,
        part: PartialFile,
        limit_bytes: int,
    ) -> None:
        self._remote = remote
        self._version = version
        self._blocks = blocks
        self._part = part
        self._limit_bytes = limit_bytes
        self._response: requests.Response | None = None
        self._ended = Event()
        self._end_reason = ""
        self._received_bytes = 0
        self._pace_checked_at = time.monotonic()
        self._received_bytes_then = 0

    @property
    def accepted(self) -> bool:
        """Whether the server has sent it anything."""
        return self._received_bytes > 0

    def run(self, response: requests.Response | None = None, first_byte: int = 0) -> str:
        """Receive `response`, which continues at `first_byte`, then request further blocks.

        Return why it ended early, or an empty text. Raises `ContentChanged`, `InputTooLargeError`,
        and `TemporaryError` for a full disk.
        """
        try:
            if response is not None:
                self._receive_rest(response, first_byte)
            while not self._ended.is_set():
                block = self._blocks.take_request(self)
                if block is None:
                    break
                self._request(block)
        except ConnectionLost as lost:
            return self._end_reason or str(lost)
        finally:
            self._blocks.release(self)
        return self._end_reason

    def end(self, reason: str = "") -> None:
        """Make `run`, in another thread, return at once."""
        self._end_reason = self._end_reason or reason
        self._ended.set()
        if self._response is not None:
            cut_connection(self._response)

    def check_pace(self, now: float) -> None:
        """End it if it received next to nothing for a minute. `now` as of `time.monotonic`.

        A socket's own time limit starts again with each byte.
        """
        if now <= self._pace_checked_at + _PACE_INTERVAL_S:
            return
        if self._received_bytes < self._received_bytes_then + _PACE_BYTES:
            self.end("sends next to nothing")
        self._pace_checked_at = now
        self._received_bytes_then = self._received_bytes

    def _receive_rest(self, response: requests.Response, first_byte: int) -> None:
        with response:
            while True:
                block = self._blocks.claim_next(first_byte, self)
                if block is None:
                    return
                self._receive(response, block, first_byte)
                first_byte = block.end

    def _request(self, block: Block) -> None:
        first_byte = block.next_byte
        received_before = self._received_bytes
        headers = {
            "Range": f"bytes={first_byte}-{block.end - 1}",
            "If-Range": self._version.validator,
        }
        try:
            with self._remote.get(headers, _TIMEOUT_S) as response:
                self._check_range(response, first_byte, block.end)
                self._receive(response, block, first_byte)
        except ConnectionLost:
            if self._received_bytes - received_before < USEFUL_BYTES:
                raise
        finally:
            self._blocks.release(self)

    def _check_range(self, response: requests.Response, first_byte: int, end: int) -> None:
        found = content_range(response)
        if response.status_code in (200, 206) and self._version.differs(response):
            raise ContentChanged
        if found and found.total_bytes not in (None, self._version.total_bytes):
            raise ContentChanged
        if not found or (found.start, found.end) != (first_byte, end):
            raise ConnectionLost(f"answered {response.status_code} to a second connection")

    def _receive(self, response: requests.Response, block: Block, first_byte: int) -> None:
        """Write the block from `first_byte` on unless another connection has received it."""
        self._response = response
        position = first_byte
        while position < block.end:
            data = self._read(response, min(READ_BYTES, block.end - position))
            if not data:
                self._end_file(position, response)
                return
            if not self._blocks.claim(block, position, self):
                return
            if self._version.total_bytes is None:
                self._reserve(position + len(data))
            self._part.write(data, position)
            position += len(data)
            block.next_byte = position
            self._received_bytes += len(data)

    def _read(self, response: requests.Response, max_bytes: int) -> bytes:
        data = b""
        if not self._ended.is_set():
            data = read_available(response, max_bytes)
        # To http.client a connection that was cut looks like one that ended well.
        if self._ended.is_set():
            raise ConnectionLost("was ended")
        return data

    def _end_file(self, size_bytes: int, response: requests.Response) -> None:
        """Take the end of the answer for the end of the file, where nothing else shows its length.

        Raises `ConnectionLost` otherwise.
        """
        if self._version.total_bytes is not None:
            raise ConnectionLost(f"ended before its {self._version.total_bytes} bytes were here")
        if not size_bytes:
            # http.client shows a connection that dies among the headers as an empty answer.
            raise ConnectionLost("sent nothing")
        resumable = self._version.accepts_ranges and self._version.validator
        if resumable and "Transfer-Encoding" not in response.headers:
            # A connection that was cut looks the same; a range will tell.
            raise ConnectionLost("does not say how long the slide is")
        self._blocks.set_end(size_bytes)

    def _reserve(self, size_bytes: int) -> None:
        check_size(self._remote, size_bytes, self._limit_bytes)
        rounded_up_bytes = -(-size_bytes // _RESERVE_STEP_BYTES) * _RESERVE_STEP_BYTES
        self._part.reserve(min(rounded_up_bytes, self._limit_bytes))


def check_size(remote: RemoteFile, size_bytes: int, limit_bytes: int) -> None:
    """Raise `InputTooLargeError` where `size_bytes` is more than may be fetched."""
    if size_bytes > limit_bytes:
        raise InputTooLargeError(
            f"{remote.safe_url} has at least {size_bytes} bytes; at most {limit_bytes} are fetched"
        )


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
