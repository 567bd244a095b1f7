"""A file on a server that gives byte ranges as storages do, and counts what it sends; bent where a
test says how.
"""

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from tests.support.slide_server import Handler


@dataclass
class Reply:
    """One answer before it is sent. `cut_after`: so many bytes, and the line goes dead."""

    status: int
    start: int
    body: bytes
    headers: dict[str, str]
    cut_after: int | None = None


Bend = Callable[[int, Reply], None]
"""What a server does to its answer number n, from 0 on."""


@dataclass
class RangedFile:
    """Answers GETs for the file; `asked` lists the ranges in the order they came, `sent_bytes`
    counts all bodies.
    """

    content: bytes
    etag: str = '"v1"'
    bend: Bend = lambda number, reply: None
    asked: list[tuple[int, int]] = field(default_factory=list)
    sent_bytes: int = 0
    _lock: Lock = field(default_factory=Lock)

    def __call__(self, handler: Handler) -> None:
        with self._lock:
            reply = self._reply(handler)
            self.bend(len(self.asked) - 1, reply)
            body = reply.body[: reply.cut_after]
            self.sent_bytes += len(body)
        handler.connection.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )  # else bodies wait for acknowledgements
        handler.send_response(reply.status)
        for name, value in ({"Content-Length": str(len(reply.body))} | reply.headers).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)
        if reply.cut_after is not None:
            handler.hang_up()

    def _reply(self, handler: Handler) -> Reply:
        total, wanted = len(self.content), handler.headers.get("Range", "")
        first, last = (int(edge) for edge in wanted[6:].split("-")) if wanted else (0, total - 1)
        self.asked.append((first, last + 1))
        if handler.headers.get("If-None-Match") == self.etag:
            return Reply(304, 0, b"", {"ETag": self.etag})
        if not wanted or handler.headers.get("If-Range", self.etag) != self.etag:
            return Reply(200, 0, self.content, {"ETag": self.etag})
        body = self.content[first : last + 1]
        said = f"bytes {first}-{first + len(body) - 1}/{total}"
        return Reply(206, first, body, {"ETag": self.etag, "Content-Range": said})


def from_number(first: int, bend: Callable[[Reply], None]) -> Bend:
    """Bend every answer from number `first` on."""
    return lambda number, reply: bend(reply) if number >= first else None


def set_to(**changed: object) -> Callable[[Reply], None]:
    """Set fields of the reply; headers are added."""

    def bend(reply: Reply) -> None:
        for name, value in changed.items():
            setattr(reply, name, reply.headers | value if isinstance(value, dict) else value)

    return bend
