"""`python -m benchmarks.fileserver FILE MB_PER_S`: one file over HTTP with ranges, each connection at most so fast.

0 sets no limit. Says its port on its first line; what is asked for does not matter. Ends with its standard input.
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
        self.file, self.bytes_per_s = file, bytes_per_s

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that has enough hangs up."""


class Handler(BaseHTTPRequestHandler):
    """GET alone, with one range or none."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        """The file, or the part of it that is asked for."""
        total = self.server.file.stat().st_size
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, stop = (int(found[1]), int(found[2] or total - 1) + 1) if found else (0, total)
        self.send_response(206 if found else 200)
        if found:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{total}")
        for name, value in {
            "ETag": '"1"',
            "Accept-Ranges": "bytes",
            "Content-Length": str(stop - start),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self._send(start, stop)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def _send(self, start: int, stop: int) -> None:
        limit, began, step = (
            self.server.bytes_per_s,
            time.monotonic(),
            _STEP_BYTES if self.server.bytes_per_s else stop,
        )
        with self.server.file.open("rb") as file:
            for at in range(start, stop, step):
                self.connection.sendfile(file, at, min(step, stop - at))
                if limit:
                    time.sleep(max(0.0, began + (at + step - start) / limit - time.monotonic()))


def main() -> None:
    """Serve until standard input ends."""
    with Server(Path(sys.argv[1]), float(sys.argv[2]) * 1e6) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.server_address[1], flush=True)
        sys.stdin.read()
        server.shutdown()


if __name__ == "__main__":
    main()
