"""Answers what one program sends over one connection: as a proxy, as Techcyte, and as a bucket.

A program reaches Techcyte's name through the proxy (CONNECT), or because its own `/etc/hosts` leads
there; both end here, with TLS by the certificate of the run.
"""

import json
import secrets
import socket
import ssl
import time
from contextlib import AbstractContextManager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from worker.programs.results_receiver import tunnel
from worker.programs.results_receiver.request_body import (
    BodyError,
    BodyTooLargeError,
    kept_body,
)
from worker.programs.results_receiver.run_server import RunServer
from worker.programs.results_receiver.slide_files import (
    UnsatisfiableRangeError,
    requested_range,
    write_zip,
)
from worker.results.techcyte_rules.posted import PostRefusedError

API: Final = "/api/v3/"
_HTTPS: Final = 443
_IDLE_S: Final = 120.0
_SILENT_S: Final = 5.0
_LINGER_S: Final = 60.0
_SMALL_BYTES: Final = 2**16
_BINARY: Final = "application/octet-stream"


class Connection(BaseHTTPRequestHandler):
    """One connection, with as many requests as it has."""

    protocol_version = "HTTP/1.1"
    timeout = _IDLE_S
    server_version = "Slidelane"
    sys_version = ""

    def __init__(self, connection: socket.socket, run: RunServer, *, is_encrypted: bool) -> None:
        """Answer the requests of the connection until it ends."""
        self._run = run
        self._is_encrypted = is_encrypted
        if is_encrypted:
            connection.settimeout(_IDLE_S)
            connection = _encrypted(connection, run)
        super().__init__(connection, ("", 0), None)  # type: ignore[arg-type]

    def finish(self) -> None:
        """End the connection; after CONNECT it is another object than the one that was accepted."""
        with suppress(OSError):
            super().finish()
        self.request.close()

    def log_message(self, *_: object) -> None:
        """Write nothing: addresses hold secrets."""

    def do_CONNECT(self) -> None:
        """Lead a proxied connection to ourselves, or to a host that the program may reach."""
        host, _, port = self.path.rpartition(":")
        host = host.strip("[]").lower()
        if not port.isdecimal():
            self._answer(400, {"error": "CONNECT needs HOST:PORT"})
        elif host == self._run.identity.api_host.lower() and int(port) == _HTTPS:
            self._begin_tls()
        elif host in self._run.allowed_hosts:
            self._open_tunnel(host, int(port))
        else:
            self._run.received.want(self.path)
            self.close_connection = True
            self._answer(403, {"error": f"this program may not reach {self.path}"})

    def do_GET(self) -> None:
        """Answer a file of the slide, or the evaluations of the case."""
        path = self._path()
        if self._is_encrypted:
            if self._may_ask() and self._task_of(path, "external/case_evaluations/") is not None:
                self._answer(200, [])
            return
        if path == self._run.slide_path:
            self._send_file(self._run.slide.main)
        elif path == self._run.zip_path:
            self._send_zip()
        else:
            self._answer_unknown()

    def do_HEAD(self) -> None:
        """Answer the head of what GET answers."""
        self.do_GET()

    def do_POST(self) -> None:
        """Take results, or hand out the token of the run."""
        path = self._path()
        if not self._is_encrypted:
            self._answer_unknown()
        elif path == f"{API}token":
            self._discard_body()
            token = {"access_token": self._run.identity.token, "token_type": "Bearer"}
            self._answer(200, {**token, "expires_in": 86400})
        elif self._may_ask() and self._task_of(path, "external/results/") is not None:
            self._take_results()

    def do_PATCH(self) -> None:
        """Take what the case should be set to."""
        path = self._path()
        if not self._is_encrypted:
            self._answer_unknown()
        elif self._may_ask() and self._task_of(path, "external/case/") is not None:
            self._take_triage()

    def do_PUT(self) -> None:
        """Take a debug file."""
        if self._is_encrypted or self._path() != self._run.debug_path:
            self._answer_unknown()
            return
        try:
            with self._body(self._run.max_debug_bytes) as body:
                self._run.received.take_debug(body)
        except BodyError as error:
            self._refuse_body(error)
        else:
            self._answer(200, None)

    def _begin_tls(self) -> None:
        """Say that the host is reached, and be that host from now on."""
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self.request = _encrypted(self.request, self._run)
        self.setup()
        self._is_encrypted = True
        self.close_connection = False

    def _open_tunnel(self, host: str, port: int) -> None:
        self.close_connection = True
        try:
            far = tunnel.connect(host, port)
        except OSError as error:
            self._answer(502, {"error": f"{host} does not answer: {error.strerror}"})
            return
        with far:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            tunnel.copy_both_ways(self.request, far)

    def _path(self) -> str:
        """Return the path of the request; of a proxied one nothing that is here."""
        if not self.path.startswith("/"):
            self._run.received.want(urlsplit(self.path).netloc)
            return ""
        return urlsplit(self.path).path

    def _may_ask(self) -> bool:
        """Return whether the token is the run's own; else answer that it is not."""
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        is_own = secrets.compare_digest(token.strip().encode(), self._run.identity.token.encode())
        if scheme.lower() == "bearer" and is_own:
            return True
        self._run.received.refuse("the token is not JWT_TOKEN of this run, nor one from /token")
        self._discard_body()
        self._answer(401, {"error": "a valid Bearer token is needed: JWT_TOKEN of this run"})
        return False

    def _task_of(self, path: str, call: str) -> str | None:
        """Return the task of a path of the API; else answer that there is nothing."""
        if not path.startswith(API + call):
            self._answer_unknown()
            return None
        task = unquote(path.removeprefix(API + call))
        if not self._run.identity.is_task(task):
            self._run.received.refuse(f"the task {task[:100]!r} is not TASK_ID of this run")
            self._discard_body()
            self._answer(404, {"error": f"there is no task {task[:100]!r}"})
            return None
        return task

    def _take_results(self) -> None:
        try:
            with self._body(self._run.max_post_bytes) as body:
                self._run.received.take_results(body)
        except BodyError as error:
            self._refuse_body(error)
        except PostRefusedError as refusal:
            self._answer(400, {"error": str(refusal)})
        else:
            self._answer(201, None)

    def _take_triage(self) -> None:
        try:
            with self._body(_SMALL_BYTES) as body:
                self._run.received.take_triage(body.read_bytes())
        except BodyError as error:
            self._refuse_body(error)
        except PostRefusedError as refusal:
            self._answer(400, {"error": str(refusal)})
        else:
            self.send_response(204)
            self.end_headers()

    def _body(self, limit_bytes: int) -> AbstractContextManager[Path]:
        return kept_body(self.rfile, self.headers, self._run.folder, limit_bytes)

    def _discard_body(self) -> None:
        """Read the body, so that a client that is still sending it gets the answer."""
        with suppress(BodyError), self._body(self._run.max_post_bytes):
            return

    def _refuse_body(self, error: BodyError) -> None:
        """Answer that the body cannot be taken, and end the connection."""
        self.close_connection = True
        status = 400
        if isinstance(error, BodyTooLargeError):
            status = 413
        self._run.received.refuse(str(error))
        self._answer(status, {"error": str(error)})
        self._read_the_rest()

    def _read_the_rest(self) -> None:
        """Read what still comes for a while: a client that is sending would not see the answer."""
        self.request.settimeout(_SILENT_S)
        ends_at = time.monotonic() + _LINGER_S
        with suppress(OSError):
            while time.monotonic() < ends_at and self.rfile.read(_SMALL_BYTES):
                pass

    def _send_file(self, path: Path) -> None:
        with path.open("rb") as file:
            size = path.stat().st_size
            try:
                wanted = requested_range(self.headers.get("Range"), size)
            except UnsatisfiableRangeError:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{size}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = 0
            length = size
            if wanted:
                start = wanted.start
                length = wanted.length
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{start + length - 1}/{size}")
            else:
                self.send_response(200)
            self.send_header("Content-Type", _BINARY)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(length))
            self.end_headers()
            if self.command != "HEAD" and length:
                self.request.sendfile(file, start, length)

    def _send_zip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/zip")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if self.command != "HEAD":
            write_zip(self._run.slide.files, self.wfile)

    def _answer_unknown(self) -> None:
        self._discard_body()
        self._answer(404, {"error": f"{self.command}: nothing is here"})

    def _answer(self, status: int, value: Any) -> None:
        content = b"null"
        if value is not None:
            content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _encrypted(connection: socket.socket, run: RunServer) -> ssl.SSLSocket:
    """Return the connection with TLS on it; a program that does not trust us is noted."""
    try:
        return run.certificates.context.wrap_socket(connection, server_side=True)
    except ssl.SSLError as error:
        run.received.refuse(f"the program ended TLS: it may trust no certificate of ours ({error})")
        raise


def answer_connection(connection: socket.socket, run: RunServer, *, is_encrypted: bool) -> None:
    """Answer everything of one connection, whatever comes; a fault ends it alone."""
    try:
        Connection(connection, run, is_encrypted=is_encrypted)
    except (OSError, ssl.SSLError, ValueError):
        return  # the program ended it, or speaks something else
