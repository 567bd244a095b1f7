"""A real HTTP server for slides, which behaves as real ones do.

It answers byte ranges, cuts connections, refuses requests, and sends slowly.
"""

import re
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from worker.progress import StopWork


class Listener:
    """A progress that remembers what it heard and stops the work once `stop_when` holds."""

    def __init__(self, stop_when: Callable[[int], bool] = lambda done: False) -> None:
        self.heard: list[tuple[str, int, int]] = []
        self.called = threading.Event()
        self._stop_when = stop_when

    def report(self, stage: str, done: int, total: int) -> None:
        self.heard.append((stage, done, total))
        self.called.set()
        if self._stop_when(done):
            raise StopWork


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "SlideServer"

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


class SlideServer(ThreadingHTTPServer):
    """Answers by path; `asked` lists (path, headers) of every GET. Any other method is answered
    501.
    """

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
    """A file as a server holds it. Each answer takes the next of `cuts`: after so many bytes the
    line goes dead.

    Half-way an answer waits for `gate` where there is one, and until `until` holds.
    """

    content: bytes
    etag: str = '"v1"'
    last_modified: str = ""
    ranges: bool = True
    chunked: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    half_sent: threading.Event = field(default_factory=threading.Event)
    gate: threading.Event | None = None
    until: Callable[[], bool] = lambda: True

    def __call__(self, handler: Handler) -> None:
        if self.etag and handler.headers.get("If-None-Match") == self.etag:
            handler.answer(304, ETag=self.etag)
            return
        wanted = self._wanted(handler)
        self._head(handler, wanted)
        body = self.content[wanted] if wanted else self.content
        if self.cuts:
            handler.wfile.write(body[: self.cuts.pop(0)])
            handler.hang_up()
            return
        for piece in (body[: len(body) // 2], body[len(body) // 2 :]):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if self.chunked else piece)
            self.half_sent.set()
            if self.gate:
                self.gate.wait(60)
            while not self.until() and not handler.server.closing.wait(0.01):
                pass
        if self.chunked:
            handler.wfile.write(b"0\r\n\r\n")

    def _wanted(self, handler: Handler) -> slice | None:
        """The one range that is asked for, of content that is still the same."""
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
        same = handler.headers.get("If-Range", self.etag) in (self.etag, self.last_modified)
        if not found or not same or not self.ranges or int(found[1]) >= len(self.content):
            return None
        return slice(
            int(found[1]),
            min(int(found[2] or len(self.content)) + bool(found[2]), len(self.content)),
        )

    def _head(self, handler: Handler, wanted: slice | None) -> None:
        size = len(self.content)
        handler.send_response(206 if wanted else 200)
        headers = {"ETag": self.etag, "Last-Modified": self.last_modified} | self.headers
        headers["Accept-Ranges"] = "bytes" if self.ranges else ""
        if wanted:
            headers["Content-Range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{size}"
        length = wanted.stop - wanted.start if wanted else size
        headers |= (
            {"Transfer-Encoding": "chunked"} if self.chunked else {"Content-Length": str(length)}
        )
        for name, value in headers.items():
            if value:
                handler.send_header(name, value)
        handler.end_headers()


def drip(head: bytes) -> Answer:
    """Send `head`, and then one byte every hundredth of a second for as long as the
    server lives.
    """

    def answer(handler: Handler) -> None:
        handler.close_connection = True
        handler.wfile.write(head)
        while not handler.server.closing.wait(0.01):
            handler.wfile.write(b"x")

    return answer


def drips_until(opened: threading.Event) -> Answer:
    """A file that never ends, until the test lets it end at once."""

    def answer(handler: Handler) -> None:
        if opened.is_set():
            handler.answer(404)
            return
        handler.send_response(200)
        handler.send_header("Content-Length", str(10**9))
        handler.end_headers()
        try:
            handler.wfile.write(b"II*\0")  # so it might be a slide
            while not handler.server.closing.wait(0.05):
                handler.wfile.write(bytes(1000))
        except OSError:
            return

    return answer
