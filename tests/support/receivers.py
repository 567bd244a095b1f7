"""An HTTP receiver whose answer follows from the path: a status, late, never, or cut off."""

import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Handler(BaseHTTPRequestHandler):
    server: "PathReceiver"

    def do_POST(self) -> None:
        """Answer by path.

        `/status/N`, `/echo/N`, `/cut/before|after|reply`, `/silent`, `/drip`, `/redirect`, or one
        of `answers`.
        """
        self.server.requests.append((self.command, self.path, dict(self.headers), self.body()))
        _, kind, *rest = self.path.partition("?")[0].split("/")
        match kind, rest:
            case "status", [status, *_]:
                self.answer(int(status), b"so it is", **self.server.headers)
            case "echo", [status, *_]:
                echo = f"{self.path} {dict(self.headers)}"
                self.answer(int(status), echo.encode(), **self.server.headers)
            case "cut", ["reply", *_]:
                self.head(200, **{"Content-Length": "1000"})
                self.wfile.write(b'{"Job": {')
                self.hang_up()
            case "cut", _:
                self.hang_up()
            case "silent", _:
                self.server.closing.wait(20)
            case "drip", _:
                self.drip()
            case "redirect", _:
                self.answer(302, b"", Location=self.server.url("/status/200"))
            case _:
                status, content = self.server.answers[self.path.partition("?")[0]]
                self.answer(status, content, **self.server.headers)

    do_GET = do_PUT = do_POST  # noqa: N815 - the names http.server calls

    def body(self) -> bytes:
        """Read the body, unless the path says to hang up before."""
        if self.path.startswith("/cut/before"):
            return b""
        return self.rfile.read(int(self.headers["Content-Length"] or 0))

    def drip(self) -> None:
        """Send a body without end, a byte at a time."""
        self.head(201)
        while not self.server.closing.wait(0.01):
            self.wfile.write(b"x")

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        """Send a whole answer."""
        self.head(status, **{"Content-Length": str(len(body))} | headers)
        self.wfile.write(body)

    def head(self, status: int, **headers: str) -> None:
        """Send status and headers."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def hang_up(self) -> None:
        """End the connection at once."""
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *args: Any) -> None:
        """Log nothing."""


class PathReceiver(ThreadingHTTPServer):
    """The receiver; `answers` maps further paths to (status, body).

    `requests` lists (method, path, headers, body) of what came. With `tls` it is `https://HOST`
    whose certificate names `host`.
    """

    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self._origin = f"http://{host}:{self.server_port}"
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
            self._origin = f"https://{host}:{self.server_port}"
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.headers: dict[str, str] = {}
        self.closing = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))

    def url(self, path: str) -> str:
        """Return the URL of a path."""
        return f"{self._origin}{path}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.closing.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that hung up."""
