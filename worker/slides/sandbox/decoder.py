"""What a decoder process does: it answers a worker's requests about one slide."""

import json
import math
import os
import socket
import traceback
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from threading import Thread
from typing import Any, Final

import numpy as np

from worker.geometry.frame import MppSource, Pixels
from worker.slides.errors import NotASlideError, UnreadableSlideError
from worker.slides.sandbox.messages import receive, send
from worker.slides.slide import Slide

_MAX_TEXT_CHARS: Final = 4000
Answer = tuple[dict[str, Any], Pixels | None]


class RequestHandler:
    """Answers requests about the one slide of this process.

    The slide is opened once; then any thread may read it. `shared` is the memory that the worker
    sees, too.
    """

    def __init__(self, shared: Pixels) -> None:
        self._slide: Slide | None = None
        self._shared = shared

    def serve(self, connection: socket.socket) -> None:
        """Answer one request after another until the worker closes the connection."""
        with suppress(OSError):
            while True:
                message, _ = receive(connection)
                answer, pixels = self._answer(**json.loads(message))
                send(connection, json.dumps(answer).encode(), pixels)

    def call(self, method: str, arguments: dict[str, Any]) -> Answer:
        """Return the answer to one request. Raises what its work raises."""
        if method == "open":
            return self._open(**arguments)
        if self._slide is None:
            raise RuntimeError("no slide is open")
        if method == "fill":
            return _fill(self._slide, **arguments)
        if method == "fill_tiles":
            return _fill_tiles(self._slide, self._shared, **arguments)
        if method == "associated":
            return {}, self._slide.read_associated(**arguments)
        raise ValueError(f"there is no method {method!r}")

    def _answer(self, method: str, **arguments: Any) -> Answer:
        try:
            return self.call(method, arguments)
        except (NotASlideError, UnreadableSlideError) as error:
            detail = error.detail[:_MAX_TEXT_CHARS]
            return {"refusal": {"code": error.code, "detail": detail, "hint": error.hint}}, None
        except MemoryError:
            return {"is_short_of_memory": True}, None
        except Exception:  # noqa: BLE001 - a bug is reported to the worker, which logs it
            return {"bug": traceback.format_exc()[-_MAX_TEXT_CHARS:]}, None

    def _open(self, path: str, mpp: float | None, mpp_source: MppSource) -> Answer:
        self._slide = Slide.open(Path(path), mpp, mpp_source)
        answer = {
            "frame": asdict(self._slide.frame),
            "description": self._slide.description._asdict(),
            "reader": self._slide.reader,
            "warnings": [warning._asdict() for warning in self._slide.warnings],
        }
        return answer, None


def _fill(slide: Slide, shape: list[int], **position: float) -> Answer:
    region = np.empty(shape, np.uint8)
    slide.fill(region, **position)
    return {}, region


def _fill_tiles(
    slide: Slide,
    shared: Pixels,
    shape: list[int],
    offset: int,
    corners: list[tuple[float, float]],
    **downsamples: float,
) -> Answer:
    tiles = shared[offset : offset + math.prod(shape)].reshape(shape)
    slide.fill_tiles(tiles, corners, **downsamples)
    return {}, None


def decode(
    handler: RequestHandler, lifeline: socket.socket, connections: list[socket.socket]
) -> None:
    """Answer requests on every connection, each in a thread of its own, while the worker lives.

    One byte over the lifeline says that the answers begin.
    """
    for connection in connections:
        Thread(target=handler.serve, args=(connection,), daemon=True).start()
    lifeline.send(b"1")
    with suppress(ConnectionError):
        lifeline.recv(1)
    os._exit(0)  # other threads may be inside of a decoder
