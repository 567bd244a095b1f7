"""Slides are read in a process of their own, which a crashing, hanging or greedy decoder takes down alone.

Owns how many processes there are; what one is and what its end means is in `worker.slides.sandbox.process`. Must not know formats.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Final

import numpy as np

from worker.geometry.frame import Area, MppSource, Pixels
from worker.slides.overview import overview
from worker.slides.sandbox.process import DecoderProcess, unreadable

MAX_BYTES: Final = 4 * 2**30
READ_S: Final = 60.0
_AT_ONCE_PX: Final = 2**22  # of what one question is about: the time limit is for that


class Sandbox:
    """Where slides are opened, each in a process of its own. Threads may share it."""

    def __init__(self, threads: int, *, max_bytes: int = MAX_BYTES, read_s: float = READ_S) -> None:
        self._threads, self._max_bytes, self._read_s = threads, max_bytes, read_s
        self._spare: DecoderProcess | None = None
        self._lock = Lock()

    @contextmanager
    def open(
        self, path: Path, mpp: float | None = None, whose: MppSource = "order"
    ) -> Iterator["SandboxedSlide"]:
        """The slide at `path`; `mpp`, which is `whose` word, is believed only where the file does not say.

        Raises `OrderError`: `not_a_slide`, `slide_unreadable`; and `TemporaryError` where the process was ended from
        outside.
        """
        child = self._child()
        try:
            yield SandboxedSlide(child, self._threads, path, mpp, whose)
        finally:
            child.end()

    def prepare(self) -> None:
        """Start the process of the next slide: half a second of a core, which nobody should be waiting for."""
        with (
            self._lock,
            suppress(OSError),
        ):  # short of processes or files: whoever opens that slide will say so
            self._spare = self._spare or self._started()

    def _child(self) -> DecoderProcess:
        with self._lock:
            child, self._spare = self._spare, None
        return child if child and child.is_alive else self._started()

    def _started(self) -> DecoderProcess:
        return DecoderProcess(self._threads, self._max_bytes, self._read_s)


class SandboxedSlide:
    """A slide that another process reads, `threads` regions at a time. See `worker.slide.Slide`."""

    def __init__(
        self, child: DecoderProcess, threads: int, path: Path, mpp: float | None, whose: MppSource
    ) -> None:
        self._child, self.threads, self.process_id = child, threads, child.id
        answer = child.ask(
            {"what": "open", "path": str(path.resolve()), "mpp": mpp, "whose": whose}
        )
        if answer.frame is None:
            raise unreadable("its decoder gives impossible answers")
        self.frame, self.reader = answer.frame, answer.reader

    def fill(
        self, region: Pixels, x: float, y: float, downsample_x: float, downsample_y: float
    ) -> None:
        """As `Slide.fill`; the pixels come straight into `region`, which must be contiguous."""
        where = {"x": x, "y": y, "downsample_x": downsample_x, "downsample_y": downsample_y}
        self._child.ask({"what": "fill", "size": region.shape, **where}, region)

    def workspace(self, number: int, shape: tuple[int, ...]) -> Pixels:
        """Memory for thread `number` that the other process writes into itself, where so much of it is shared."""
        shared = self._child.pixels.slot(number, shape) if number < self.threads else None
        return np.empty(shape, np.uint8) if shared is None else shared

    def fill_tiles(
        self,
        tiles: Pixels,
        corners: Sequence[tuple[float, float]],
        downsample_x: float,
        downsample_y: float,
    ) -> None:
        """As `Slide.fill_tiles`; in a `workspace` that is shared no pixel is copied."""
        step = max(1, _AT_ONCE_PX // (tiles.shape[1] * tiles.shape[2]))
        for start in range(0, len(tiles), step):
            some, place = (
                tiles[start : start + step],
                self._child.pixels.place(tiles[start : start + step]),
            )
            if place is None:
                for tile, (x, y) in zip(some, corners[start : start + step], strict=True):
                    self.fill(tile, x, y, downsample_x, downsample_y)
            else:
                where = {"place": place, "corners": corners[start : start + step]}
                ratio = {"downsample_x": downsample_x, "downsample_y": downsample_y}
                self._child.ask({"what": "tiles", "size": some.shape, **where, **ratio})

    def overview(self, area: Area, max_px: int) -> Pixels:
        """As `Slide.overview`."""
        return overview(self, area, max_px)
