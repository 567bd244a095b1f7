"""A small HTTP server in place of the viewer process: what the API asks, without a slide."""

import json
import socket
import socketserver
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from broker.settings.viewer import viewer_socket

FACTS: dict[str, Any] = {
    "width": 60_000,
    "height": 48_000,
    "mpp_x": 0.25,
    "mpp_y": 0.25,
    "mpp_source": "slide",
    "vendor": "aperio",
    "digest": "stat:0",
    "bytes": 1_000_000,
    "levels": [{"width": 60_000, "height": 48_000, "downsample": 1.0}],
    "associated": ["label", "macro"],
}
ETAG = '"0123"'
TILE = b"\xff\xd8 a tile \xff\xd9"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "ViewerStandIn"

    def setup(self) -> None:
        """Count the connection."""
        super().setup()
        self.server.connections += 1
        self.server.open.add(self.connection)

    def finish(self) -> None:
        """Forget the connection."""
        self.server.open.discard(self.connection)
        super().finish()

    def do_GET(self) -> None:
        """Answer one request."""
        viewer = self.server
        viewer.asked.append((self.path, dict(self.headers)))
        asked = urlsplit(self.path)
        query = parse_qs(asked.query)
        slide = unquote(self.headers.get("Slide-Path", ""))
        if asked.path == "/folders":
            self.answer_json({"roots": [{"root": 0, "name": "slides"}]})
        elif asked.path == "/folders/0":
            entry = {"name": "a.svs", "kind": "slide", "bytes": 7, "modified_at": "2026-11-29"}
            path = query.get("path", [""])[0]
            self.answer_json({"root": 0, "path": path, "entries": [entry], "cursor": None})
        elif asked.path.startswith("/folders/"):
            self.answer_problem(404, "not_found", "there is no such root")
        elif slide not in viewer.slides:
            self.answer_problem(410, "slide_gone", f"{slide} is gone")
        elif self.means_another(viewer.slides[slide]):
            self.answer_problem(410, "slide_gone", f"{slide} has changed")
        elif viewer.slides[slide] is None:
            self.answer_problem(422, "not_a_slide", f"{slide} is not a slide")
        else:
            self.answer_about_slide(slide)

    def means_another(self, facts: dict[str, Any] | None) -> bool:
        """Return whether the request is about a slide with another digest."""
        digest = self.headers.get("Slide-Digest")
        return facts is not None and digest not in (None, facts["digest"])

    def answer_about_slide(self, slide: str) -> None:
        """Answer a request about a slide that is there."""
        asked = urlsplit(self.path)
        if asked.path == "/slide":
            self.answer_json(self.server.slides[slide])
        elif asked.path == "/digest":
            self.answer_json({"digest": (self.server.slides[slide] or {}).get("digest")})
        elif asked.path == "/iiif/info.json":
            self.answer_json({"id": parse_qs(asked.query)["id"][0], "profile": "level1"})
        elif self.headers.get("If-None-Match") == ETAG:
            self.answer(304, b"", "image/jpeg")
        else:
            self.answer(200, TILE, "image/jpeg")

    def answer_json(self, document: Any) -> None:
        """Answer a JSON document."""
        self.answer(200, json.dumps(document).encode(), "application/json")

    def answer_problem(self, status: int, code: str, detail: str) -> None:
        """Answer a problem as the viewer does."""
        body = {"type": f"urn:slidelane:problem:{code}", "status": status}
        body |= {"code": code, "detail": detail}
        self.answer(status, json.dumps(body).encode(), "application/problem+json")

    def answer(self, status: int, body: bytes, media_type: str) -> None:
        """Send one whole answer, with headers that must not be passed on."""
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", ETAG)
        self.send_header("Cache-Control", "private, max-age=86400, immutable")
        self.send_header("Keep-Alive", "timeout=5")
        self.send_header("Set-Cookie", "a=b")
        self.end_headers()
        self.wfile.write(body)
        if self.server.closes_silently:
            self.close_connection = True

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


class ViewerStandIn(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Serves on the socket of a data folder until the context ends.

    `slides`: what is answered about the slide at each path; None = it is no slide.
    `closes_silently`: each connection is closed after its answer, which does not say so.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, data: Path) -> None:
        self.slides: dict[str, dict[str, Any] | None] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.closes_silently = False
        self.connections = 0
        self.open: set[socket.socket] = set()
        data.mkdir(parents=True, exist_ok=True)
        self.path = viewer_socket(data)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(str(self.path), Handler)
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        for connection in tuple(self.open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()
        self._thread.join()
        self.path.unlink(missing_ok=True)
