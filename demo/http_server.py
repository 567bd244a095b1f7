"""The HTTP server beneath every stand-in receiver: bounded bodies, no thread left behind, faults acted out.

Knows requests and answers; what they mean is the receiver's.
"""

import json
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from demo.faults import Fault, Faults

MAX_BODY_BYTES = 512 * 2**20
STALLED_CLIENT_S = 60


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
    """What goes back. `content` is bytes, text, or anything JSON can say."""

    status: int
    content: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def encode(self) -> tuple[str, bytes]:
        """The content type and the bytes."""
        if isinstance(self.content, bytes):
            return "application/octet-stream", self.content
        if isinstance(self.content, str):
            return "text/plain; charset=utf-8", self.content.encode()
        return "application/json", json.dumps(self.content).encode()


class Server(ThreadingHTTPServer):
    """Listens on one address; `close` ends every connection and joins every thread."""

    daemon_threads = False  # joined at the end, so that nothing outlives the server
    request_queue_size = 64

    def __init__(
        self, host: str, port: int, respond: Callable[[Request], Answer], faults: Faults
    ) -> None:
        self.respond, self.faults = respond, faults
        self.closing = threading.Event()
        self._open: set[socket.socket] = set()
        super().__init__((host, port), _Handler)

    def close(self) -> None:
        """Stop serving, cut what is open, wait for the threads."""
        self.closing.set()
        self.shutdown()
        for connection in tuple(self._open):
            _cut(connection)
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection and serve it in its own thread."""
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close the connection and forget it."""
        self._open.discard(request)
        super().shutdown_request(request)


def _cut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # the other side was faster
        return


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = STALLED_CLIENT_S

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:  # the client went away, which is its right
            self.close_connection = True

    def _serve(self) -> None:
        url = urlsplit(self.path)
        fault = (
            Fault()
            if url.path.startswith("/_")
            else self.server.faults.next(f"{self.command} {url.path}")
        )
        body = None if fault.cut == "before" else self._body()
        if body is None or self.server.closing.wait(fault.slow_s):
            self._hang_up()
            return
        if fault.status:
            self._send(Answer(fault.status, {"error": "told to fail"}, fault.headers()))
            return
        answer = self.server.respond(Request(self.command, url.path, url.query, self.headers, body))
        if fault.cut == "after":
            self._hang_up()
        else:
            self._send(answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - the names http.server calls

    def _body(self) -> bytes | None:
        """The whole body; None when the client broke off, or was told that it may not send so much."""
        length = self.headers.get("Content-Length", "0")
        if (
            "Transfer-Encoding" in self.headers
            or not length.isdecimal()
            or int(length) > MAX_BODY_BYTES
        ):
            self._send(
                Answer(
                    413, {"error": f"a Content-Length of at most {MAX_BODY_BYTES} bytes is needed"}
                )
            )
            return None
        body = self.rfile.read(int(length))
        return body if len(body) == int(length) else None

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

    def _hang_up(self) -> None:
        self.close_connection = True
        _cut(self.connection)

    def log_message(self, *_: Any) -> None:
        """Say nothing: the ledger says what came."""
