"""A real forward proxy: CONNECT for https, the whole URL in the request for http."""

import base64
import http.client
import select
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit


class ForwardProxy(ThreadingHTTPServer):
    """Passes on what `hosts` names: a host of a URL, and the port on loopback where it is.

    `asked` lists the host and port of each request. With `login` (`user:password`) a request
    without it is answered 407; with `refuses`, every request with that status.
    """

    daemon_threads = True

    def __init__(self, hosts: dict[str, int], *, login: str = "", refuses: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hosts = hosts
        self.login = login
        self.refuses = refuses
        self.asked: list[str] = []
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))

    @property
    def address(self) -> str:
        """Return host and port of the proxy."""
        return f"127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that hung up."""


class _Handler(BaseHTTPRequestHandler):
    server: ForwardProxy
    protocol_version = "HTTP/1.1"

    def do_CONNECT(self) -> None:
        """Join the client with the host until one of them hangs up."""
        host = self.path.rpartition(":")[0]
        if self.refusal(self.path, host):
            return
        with socket.create_connection(("127.0.0.1", self.server.hosts[host])) as upstream:
            self.send_response(200, "Connection established")
            self.end_headers()
            self.join(upstream)
        self.close_connection = True

    def do_GET(self) -> None:
        """Request the URL from its host and pass the answer on."""
        url = urlsplit(self.path)
        host = url.hostname or ""
        if self.refusal(url.netloc, host):
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        path = url.path
        if url.query:
            path += f"?{url.query}"
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.hosts[host], timeout=20)
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in ("proxy-authorization", "connection")
        }
        upstream.request(self.command, path, body, headers)
        answer = upstream.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        upstream.close()

    do_POST = do_GET  # noqa: N815 - the name http.server calls

    def refusal(self, asked: str, host: str) -> bool:
        """Return whether the request was refused, after answering it."""
        self.server.asked.append(asked)
        expected = "Basic " + base64.b64encode(self.server.login.encode()).decode()
        status = self.server.refuses
        if self.server.login and self.headers.get("Proxy-Authorization") != expected:
            status = 407
        if not status and host not in self.server.hosts:
            status = 502
        if status:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
        return bool(status)

    def join(self, upstream: socket.socket) -> None:
        """Copy bytes in both directions."""
        ends = {self.connection: upstream, upstream: self.connection}
        while True:
            readable, _, _ = select.select(list(ends), [], [], 20)
            if not readable:
                return
            for end in readable:
                data = end.recv(65536)
                if not data:
                    return
                ends[end].sendall(data)

    def log_message(self, *args: Any) -> None:
        """Log nothing."""
