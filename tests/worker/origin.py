"""A real server that slides come from, with the manners of real ones: ranges, cuts, refusals, drips."""

import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from worker.values import Stop


class Listener:
    """A watch that remembers what it heard and stops the work once `stop_when` holds."""

    def __init__(self, stop_when: Callable[[int], bool] = lambda done: False) -> None:
        self.heard: list[tuple[str, int, int]] = []
        self.called = threading.Event()
        self._stop_when = stop_when

    def progress(self, stage: str, done: int, total: int) -> None:
        self.heard.append((stage, done, total))
        self.called.set()
        if self._stop_when(done):
            raise Stop


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Origin"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append((self.path, dict(self.headers)))
        self.server.answers[path](self)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """A whole answer; `Some_Header` becomes `Some-Header`."""
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


Answer = Callable[[Handler], None]


class Origin(ThreadingHTTPServer):
    """Answers by path; `asked` lists (path, headers) of every GET. Any other method is answered 501."""

    daemon_threads = True

    def __init__(self, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        super().__init__((host, 0), Handler)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.closing = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.closing.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    def url(self, path: str, host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.server_port}{path}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that hung up is no news."""


@dataclass
class File:
    """A file as a server holds it. Each answer takes the next of `cuts`: after so many bytes the line goes dead."""

    content: bytes
    etag: str = '"v1"'
    last_modified: str = ""
    ranges: bool = True
    chunked: bool = False
    cuts: list[int] = field(default_factory=list)
    half_sent: threading.Event = field(default_factory=threading.Event)
    gate: threading.Event | None = None

    def __call__(self, handler: Handler) -> None:
        if self.etag and handler.headers.get("If-None-Match") == self.etag:
            handler.answer(304, ETag=self.etag)
            return
        self._head(handler, start := self._start(handler))
        body = self.content[start:]
        if self.cuts:
            handler.wfile.write(body[: self.cuts.pop(0)])
            handler.hang_up()
            return
        for piece in (body[: len(body) // 2], body[len(body) // 2 :]):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if self.chunked else piece)
            self.half_sent.set()
            if self.gate:
                self.gate.wait(20)
        if self.chunked:
            handler.wfile.write(b"0\r\n\r\n")

    def _start(self, handler: Handler) -> int:
        wanted = handler.headers.get("Range", "")
        same = handler.headers.get("If-Range") in (self.etag, self.last_modified)
        return int(wanted[6:-1]) if wanted and same and self.ranges else 0

    def _head(self, handler: Handler, start: int) -> None:
        size = len(self.content)
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        for name, value in (("ETag", self.etag), ("Last-Modified", self.last_modified)):
            if value:
                handler.send_header(name, value)
        if self.chunked:
            handler.send_header("Transfer-Encoding", "chunked")
        else:
            handler.send_header("Content-Length", str(size - start))
        handler.end_headers()


def drip(head: bytes) -> Answer:
    """Send `head`, and then one byte every hundredth of a second for as long as the server lives."""

    def answer(handler: Handler) -> None:
        handler.close_connection = True
        handler.wfile.write(head)
        while not handler.server.closing.wait(0.01):
            handler.wfile.write(b"x")

    return answer
