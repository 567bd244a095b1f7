"""One kept HTTP/1.1 connection to the viewer, on a unix socket or TCP.

The viewer opens files of strangers, so its answers are bounded as any from outside.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAX_HEAD_BYTES: Final = 32_768
MAX_BODY_BYTES: Final = 64 * 2**20
"""A picture of 4096 x 4096 px as PNG has no more."""
_MAX_CHUNK_LINE_BYTES: Final = 1024


class BadAnswerError(Exception):
    """What came is no answer in HTTP/1.1, or is larger than allowed."""


@dataclass(frozen=True, slots=True)
class ViewerAnswer:
    """An answer of the viewer. `headers` has lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class ViewerRequest:
    """A request to the viewer, which may be repeated. `target` is percent-encoded."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    def encode(self) -> bytes:
        """Return the request as it is sent."""
        lines = [f"{self.method} {self.target} HTTP/1.1", "host: viewer"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.body:
            lines.append(f"content-length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


@dataclass(frozen=True, slots=True)
class Place:
    """Where the viewer listens: on a unix socket, or at host and port."""

    socket: Path | None = None
    host: str = ""
    port: int = 0


class ViewerConnection:
    """A connection that answers one request after another. `is_kept`: it answered one before."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self.is_kept = False
        self.may_be_kept = True

    @classmethod
    async def open(cls, place: Place) -> "ViewerConnection":
        """Return a new connection. Raise `OSError`."""
        if place.socket is not None:
            pair = await asyncio.open_unix_connection(str(place.socket), limit=MAX_HEAD_BYTES)
        else:
            pair = await asyncio.open_connection(place.host, place.port, limit=MAX_HEAD_BYTES)
        return cls(*pair)

    @property
    def is_usable(self) -> bool:
        """Return whether it belongs to the loop that runs and the other side has not closed it."""
        if self._loop is not asyncio.get_running_loop():
            return False
        return not (self._writer.is_closing() or self._reader.at_eof())

    async def ask(self, request: ViewerRequest) -> ViewerAnswer:
        """Send a request and return the answer.

        Raise `OSError` or `asyncio.IncompleteReadError` where the connection ended, and
        `BadAnswerError`.
        """
        self._writer.write(request.encode())
        await self._writer.drain()
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError as error:
            raise BadAnswerError("its headers are too large") from error
        status, headers = _parse_head(head)
        body = await self._read_body(request.method, status, headers)
        self.may_be_kept = headers.get("connection", "").lower() != "close"
        self.is_kept = True
        return ViewerAnswer(status, headers, body)

    def close(self) -> None:
        """Close the connection at once."""
        if self._loop.is_closed():
            return
        self._writer.close()

    async def closed(self) -> None:
        """Close the connection, and wait until it is."""
        if not self.is_usable:
            self.close()
            return
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def _read_body(self, method: str, status: int, headers: Mapping[str, str]) -> bytes:
        if method == "HEAD" or status in (204, 304):
            return b""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return await self._read_chunks()
        text = headers.get("content-length", "")
        if not (text.isdecimal() and text.isascii()):
            raise BadAnswerError("it does not say how long it is")
        length = int(text[:20])
        if length > MAX_BODY_BYTES:
            raise BadAnswerError(f"it has {length} bytes, and at most {MAX_BODY_BYTES} are read")
        return await self._reader.readexactly(length)

    async def _read_chunks(self) -> bytes:
        body = bytearray()
        while True:
            line = await self._reader.readline()
            size = _chunk_size(line)
            if len(body) + size > MAX_BODY_BYTES:
                raise BadAnswerError(f"it has more than {MAX_BODY_BYTES} bytes")
            if size == 0:
                await self._skip_trailers()
                return bytes(body)
            body += await self._reader.readexactly(size)
            await self._reader.readexactly(2)

    async def _skip_trailers(self) -> None:
        for _ in range(100):
            if (await self._reader.readline()).strip() == b"":
                return
        raise BadAnswerError("it has too many trailers")


def _chunk_size(line: bytes) -> int:
    digits = line.partition(b";")[0].strip()
    if len(line) > _MAX_CHUNK_LINE_BYTES or not digits:
        raise BadAnswerError("a chunk has no size")
    try:
        size = int(digits, 16)
    except ValueError:
        raise BadAnswerError("the size of a chunk is no number") from None
    if size < 0:
        raise BadAnswerError("the size of a chunk is negative")
    return size


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    lines = head.decode("latin-1").split("\r\n")
    version, _, rest = lines[0].partition(" ")
    status = rest[:3]
    if not version.startswith("HTTP/1.") or not (status.isdecimal() and status.isascii()):
        raise BadAnswerError("it is no answer in HTTP/1.1")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return int(status), headers
