"""Serves one file over HTTP with ranges, and limits the speed of each connection.

`python -m benchmarks.throttled_file_server FILE MB_PER_S` prints its port and serves until its
standard input ends. 0 sets no limit. Every path is answered with the file.
"""

import re
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

_STEP_BYTES = 2**18


class Server(socketserver.ThreadingTCPServer):
    """One thread for each connection."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, file: Path, bytes_per_s: float) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.file = file
        self.bytes_per_s = bytes_per_s

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do nothing: a client may close the connection."""


class Handler(BaseHTTPRequestHandler):
    """Answers GET, with one range or none."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        """Send the file, or the requested range of it."""
        total = self.server.file.stat().st_size
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = 0
        stop = total
        if match:
            start = int(match[1])
            stop = int(match[2] or total - 1) + 1
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{total}")
        else:
            self.send_response(200)
        self.send_header("ETag", '"1"')
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        self._send(start, stop)

    def log_message(self, *args: Any) -> None:
        """Print nothing."""

    def _send(self, start: int, stop: int) -> None:
        bytes_per_s = self.server.bytes_per_s
        began = time.monotonic()
        with self.server.file.open("rb") as file:
            if not bytes_per_s:
                self.connection.sendfile(file, start, stop - start)
                return
            for at in range(start, stop, _STEP_BYTES):
                self.connection.sendfile(file, at, min(_STEP_BYTES, stop - at))
                due_at = began + (at + _STEP_BYTES - start) / bytes_per_s
                time.sleep(max(0.0, due_at - time.monotonic()))


def main() -> None:
    """Serve until standard input ends."""
    with Server(Path(sys.argv[1]), float(sys.argv[2]) * 1e6) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.server_address[1], flush=True)
        sys.stdin.read()
        server.shutdown()


if __name__ == "__main__":
    main()
