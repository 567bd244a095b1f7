"""Serves one file with the delay and the speed of a remote object store.

`python -m benchmarks.remote_file_server FILE DELAY_S BYTES_PER_S` prints its port and serves until
its standard input ends. Every answer waits, and all connections share the speed. There are ranges
and a strong ETag. `GET /counts` returns the requests and the bytes sent since the last time.
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
    """What was requested and sent."""

    requests: int
    bytes: int


class RemoteFileServer:
    """Such a server in a process of its own."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.url = f"http://127.0.0.1:{port}/slide.svs"

    @classmethod
    @contextmanager
    def open(cls, file: Path, delay_s: float, bytes_per_s: float) -> Iterator["RemoteFileServer"]:
        """Run the server while the context is open."""
        command = [
            sys.executable,
            "-m",
            "benchmarks.remote_file_server",
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
        """Return what was requested and sent since the last call."""
        http = HTTPConnection("127.0.0.1", self._port, timeout=60)
        http.request("GET", "/counts")
        counts = Counts(*json.loads(http.getresponse().read()))
        http.close()
        return counts


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, file: Path, delay_s: float, bytes_per_s: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = file.read_bytes()
        self.delay_s = delay_s
        self.bytes_per_s = bytes_per_s
        self.counts = Counts(0, 0)
        self.lock = Lock()
        self._free_at = 0.0

    def throttle(self, sent_bytes: int) -> None:
        """Count bytes and wait as long as they take at this speed."""
        with self.lock:
            self.counts = Counts(self.counts.requests, self.counts.bytes + sent_bytes)
            self._free_at = max(self._free_at, time.monotonic()) + sent_bytes / self.bytes_per_s
            wait_s = self._free_at - time.monotonic()
        time.sleep(max(0.0, wait_s))

    def take_counts(self) -> Counts:
        """Return what was requested and sent since the last call."""
        with self.lock:
            counts = self.counts
            self.counts = Counts(0, 0)
        return counts

    def begin(self) -> None:
        """Count a request and let it wait."""
        with self.lock:
            self.counts = Counts(self.counts.requests + 1, self.counts.bytes)
        time.sleep(self.delay_s)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do nothing: a client may close the connection."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Else every answer would wait for an acknowledgement of its headers.
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        """Send the file, a range of it, or the counts."""
        if self.path == "/counts":
            content = json.dumps(self.server.take_counts()).encode()
            self._send_headers(200, content)
            self.wfile.write(content)
            return
        self.server.begin()
        total = len(self.server.content)
        requested = self.headers.get("Range", "bytes=0-").removeprefix("bytes=")
        first, _, last = requested.partition("-")
        start = int(first)
        stop = min(int(last or total) + 1, total)
        body = memoryview(self.server.content)[start:stop]
        if "Range" in self.headers:
            content_range = f"bytes {start}-{stop - 1}/{total}"
            self._send_headers(206, body, **{"Content-Range": content_range})
        else:
            self._send_headers(200, body)
        for at in range(0, len(body), STEP_BYTES):
            step = body[at : at + STEP_BYTES]
            self.server.throttle(len(step))
            self.wfile.write(step)

    def _send_headers(self, status: int, body: bytes | memoryview, **headers: str) -> None:
        self.send_response(status)
        usual = {"Content-Length": str(len(body)), "ETag": '"1"', "Accept-Ranges": "bytes"}
        for name, value in (usual | headers).items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Print nothing."""


def main() -> None:
    """Serve until standard input ends."""
    file, delay_s, bytes_per_s = sys.argv[1:]
    server = _Server(Path(file), float(delay_s), float(bytes_per_s))
    print(server.server_port, flush=True)
    Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
