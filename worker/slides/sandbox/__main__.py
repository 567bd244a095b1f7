"""`python -m worker.slides.sandbox MAX_BYTES PIXELS_FD LIFE_FD FD...`: reads one slide for another process, and dies alone.

Owns nothing but this process: no torch, no Redis, no secrets. It ends when the other end of LIFE_FD does, and not
before: a signal that ends the worker leaves it time to finish what it is at.
"""

import json
import math
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from threading import Thread
from typing import Any, Final

import numpy as np

from broker.errors import OrderError
from worker.geometry.frame import MppSource, Pixels
from worker.slides import openslide_reader as _ahead  # noqa: F401 - loaded before a slide is waited for
from worker.slides.sandbox.messages import receive, send
from worker.slides.sandbox.shared_memory import opened
from worker.slides.slide import Slide

_SHOWN_CHARS: Final = 4000
Answer = tuple[dict[str, Any], Pixels | None]


class Reading:
    """The one slide of this process. It is opened once; then any thread may read it."""

    def __init__(self, shared: Pixels) -> None:
        self._slide: Slide | None = None
        self._shared = shared

    def serve(self, wire: socket.socket) -> None:
        """Answer one request after another, until the asker is gone."""
        try:
            while True:
                asked, _ = receive(wire)
                answer, pixels = self._answer(**json.loads(asked))
                send(wire, json.dumps(answer).encode(), pixels)
        except OSError:
            return

    def _answer(self, what: str, **named: Any) -> Answer:
        try:
            steps: dict[str, Callable[..., Answer]] = {
                "open": self._open,
                "fill": self._fill,
                "tiles": self._tiles,
            }
            return steps[what](**named)
        except OrderError as error:
            return {"refusal": _refusal(error)}, None
        except MemoryError:
            return {"is_short_of_memory": True}, None
        except Exception:  # noqa: BLE001 - the edge of this process: a bug is told to the worker, which logs it
            return {"bug": traceback.format_exc()[-_SHOWN_CHARS:]}, None

    def _open(self, path: str, mpp: float | None, whose: MppSource) -> Answer:
        self._slide = Slide.open(Path(path), mpp, whose)
        return {"frame": asdict(self._slide.frame), "reader": self._slide.reader}, None

    def _fill(self, size: list[int], **where: float) -> Answer:
        region = np.empty(size, np.uint8)
        self._opened.fill(region, **where)
        return {}, region

    def _tiles(
        self, size: list[int], place: int, corners: list[tuple[float, float]], **ratio: float
    ) -> Answer:
        tiles = self._shared[place : place + math.prod(size)].reshape(size)
        self._opened.fill_tiles(tiles, corners, **ratio)
        return {}, None

    @property
    def _opened(self) -> Slide:
        if self._slide is None:
            raise RuntimeError("no slide is open")
        return self._slide


def _refusal(error: OrderError) -> dict[str, str]:
    return {
        "code": error.code,
        "detail": error.detail[:_SHOWN_CHARS],
        "hint": error.hint,
        "field": error.field,
    }


def main(arguments: list[str]) -> None:
    """Serve every wire from a thread of its own until the asker is gone."""
    max_bytes, pixels, life_fd, *wires = map(int, arguments)
    shared = opened(pixels, len(wires))
    _renounce(max_bytes + shared.nbytes)
    reading, life = Reading(shared), socket.socket(fileno=life_fd)
    for number in wires:
        Thread(target=reading.serve, args=(socket.socket(fileno=number),), daemon=True).start()
    life.send(b"1")
    with suppress(ConnectionError):
        life.recv(1)
    os._exit(0)  # its threads may be deep in a decoder


def _renounce(max_bytes: int) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold somebody's tissue
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if sys.platform == "linux":  # others count memory that is only reserved, or none at all
        resource.setrlimit(resource.RLIMIT_AS, (max_bytes, max_bytes))


if __name__ == "__main__":
    main(sys.argv[1:])
