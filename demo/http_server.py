"""The HTTP server of every stand-in receiver.

It limits bodies, joins its threads at the end, and has faults on request. The receiver decides what
requests and answers mean.
"""

import json
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from demo.faults import Fault, Faults

MAX_BODY_BYTES = 512 * 2**20
STALLED_CLIENT_S = 60
LOGIN_PAGE = "<!doctype html><html><title>Sign in</title><body>Sign in to continue</body></html>"


@dataclass(frozen=True, slots=True)
class Request:
    """One request, read to its last byte. `path` is still percent-encoded."""

    method: str
    path: str
    query: str
    headers: Message
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back. `content` is bytes, text, or anything that JSON can hold."""

    status: int
    content: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def encode(self) -> tuple[str, bytes]:
        """Return the content type and the bytes."""
        if isinstance(self.content, bytes):
            return "application/octet-stream", self.content
        if isinstance(self.content, str) and self.content.startswith("<"):
            return "text/html; charset=utf-8", self.content.encode()
        if isinstance(self.content, str):
            return "text/plain; charset=utf-8", self.content.encode()
        return "application/json", json.dumps(self.content).encode()


class Server(ThreadingHTTPServer):
    """Listens on one address; `close` ends every connection and joins every thread."""

    # Threads are joined at the end, so that none outlives the server.
    daemon_threads = False
    request_queue_size = 64

    def __init__(
        self, host: str, port: int, respond: Callable[[Request], Answer], faults: Faults
    ) -> None:
        self.respond = respond
        self.faults = faults
        self.closing = threading.Event()
        self._open: set[socket.socket] = set()
        super().__init__((host, port), _Handler)

    def close(self) -> None:
        """Stop serving, close every connection, and wait for the threads."""
        self.closing.set()
        self.shutdown()
        for connection in tuple(self._open):
            _shut_down(connection)
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection and serve it in its own thread."""
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close the connection and forget it."""
        self._open.discard(request)
        super().shutdown_request(request)


def _shut_down(connection: socket.socket) -> None:
    # OSError: the other side has closed it already.
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = STALLED_CLIENT_S

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            # The client went away.
            self.close_connection = True

    def _serve(self) -> None:
        url = urlsplit(self.path)
        fault = self._next_fault(url.path)
        if fault.cut == "before":
            self._close()
            return
        body = self._body()
        if body is None or self.server.closing.wait(fault.slow_s):
            self._close()
            return
        if fault.status:
            self._send(Answer(fault.status, {"error": "told to fail"}, fault.headers()))
            return
        if fault.page == "instead":
            self._send(Answer(200, LOGIN_PAGE))
            return
        answer = self.server.respond(Request(self.command, url.path, url.query, self.headers, body))
        if fault.cut == "after":
            self._close()
            return
        if fault.page == "after":
            answer = Answer(200, LOGIN_PAGE)
        self._send(answer)

    # The names that http.server looks up.
    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

    def _next_fault(self, path: str) -> Fault:
        """Paths that begin with `/_` control the receiver itself and never fail."""
        if path.startswith("/_"):
            return Fault()
        return self.server.faults.next(f"{self.command} {path}")

    def _body(self) -> bytes | None:
        """Return the whole body, or None where it is refused or the client closed too early."""
        length = self.headers.get("Content-Length", "0")
        if (
            "Transfer-Encoding" in self.headers
            or not length.isdecimal()
            or int(length) > MAX_BODY_BYTES
        ):
            error = f"a Content-Length of at most {MAX_BODY_BYTES} bytes is needed"
            self._send(Answer(413, {"error": error}))
            return None
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            return None
        return body

    def _send(self, answer: Answer) -> None:
        kind, content = answer.encode()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if answer.status != 204 and self.command != "HEAD":
            self.wfile.write(content)

    def _close(self) -> None:
        self.close_connection = True
        _shut_down(self.connection)

    def log_message(self, *_: Any) -> None:
        """Print nothing: the ledger lists what was accepted."""
