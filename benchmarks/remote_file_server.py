"""`python -m benchmarks.storage FILE DELAY_S BYTES_PER_S`: one file on loopback, as far away as a storage is.

Every answer waits, and all connections share a line of that speed; ranges and a strong ETag as object stores give them.
The port goes to stdout. `GET /counts` tells requests and bytes sent since the last time. Ends with its standard input.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any, NamedTuple

from benchmarks.environment import ROOT

STEP_BYTES = 2**16


class Counts(NamedTuple):
    """What was asked and sent."""

    requests: int
    bytes: int


class Storage:
    """Such a server in a process of its own."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.url = f"http://127.0.0.1:{port}/slide.svs"

    @classmethod
    @contextmanager
    def open(cls, file: Path, delay_s: float, bytes_per_s: float) -> Iterator["Storage"]:
        """The server, until the end of the context."""
        command = [
            sys.executable,
            "-m",
            "benchmarks.storage",
            str(file),
            str(delay_s),
            str(bytes_per_s),
        ]
        with subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            try:
                assert process.stdout
                yield cls(int(process.stdout.readline()))
            finally:
                process.kill()

    def counts(self) -> Counts:
        """What was asked and sent since the last call."""
        http = HTTPConnection("127.0.0.1", self._port, timeout=60)
        http.request("GET", "/counts")
        counts = Counts(*json.loads(http.getresponse().read()))
        http.close()
        return counts


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, file: Path, delay_s: float, bytes_per_s: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.delay_s, self.bytes_per_s = file.read_bytes(), delay_s, bytes_per_s
        self.counts, self.lock, self._free_at = Counts(0, 0), Lock(), 0.0

    def pass_on(self, sent_bytes: int) -> None:
        """Count bytes and wait until the line has carried them."""
        with self.lock:
            self.counts = Counts(self.counts.requests, self.counts.bytes + sent_bytes)
            self._free_at = max(self._free_at, time.monotonic()) + sent_bytes / self.bytes_per_s
            wait_s = self._free_at - time.monotonic()
        time.sleep(max(0.0, wait_s))

    def counted(self) -> Counts:
        """What was asked and sent since the last call."""
        with self.lock:
            told, self.counts = self.counts, Counts(0, 0)
        return told

    def begin(self) -> None:
        """Count a request and let it wait."""
        with self.lock:
            self.counts = Counts(self.counts.requests + 1, self.counts.bytes)
        time.sleep(self.delay_s)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has what it needs hangs up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every answer waits for an acknowledgement of its headers
    server: _Server

    def do_GET(self) -> None:
        """The file, a range of it, or the counts."""
        if self.path == "/counts":
            told = json.dumps(self.server.counted()).encode()
            self._head(200, told)
            self.wfile.write(told)
            return
        self.server.begin()
        total, wanted = (
            len(self.server.content),
            self.headers.get("Range", "bytes=0-")[6:].partition("-"),
        )
        start, stop = int(wanted[0]), min(int(wanted[2] or total) + 1, total)
        body = memoryview(self.server.content)[start:stop]
        ranged = (
            {"Content-Range": f"bytes {start}-{stop - 1}/{total}"}
            if "Range" in self.headers
            else {}
        )
        self._head(206 if ranged else 200, body, **ranged)
        for at in range(0, len(body), STEP_BYTES):
            self.server.pass_on(len(body[at : at + STEP_BYTES]))
            self.wfile.write(body[at : at + STEP_BYTES])

    def _head(self, status: int, body: bytes | memoryview, **headers: str) -> None:
        self.send_response(status)
        usual = {"Content-Length": str(len(body)), "ETag": '"1"', "Accept-Ranges": "bytes"}
        for name, value in (usual | headers).items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def main() -> None:
    """Serve until standard input ends."""
    file, delay_s, bytes_per_s = sys.argv[1:]
    server = _Server(Path(file), float(delay_s), float(bytes_per_s))
    print(server.server_port, flush=True)
    Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
