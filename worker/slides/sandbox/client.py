"""Slides opened in processes of their own, so that a decoder that crashes or hangs ends alone.

Decides when the server that forks these processes is started. `worker.slides.sandbox.process` holds
one of them and decides what its end means.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Final

import numpy as np

from worker.geometry.frame import Area, MppSource, Pixels
from worker.slides.errors import SlideDecodingError
from worker.slides.overview import read_overview
from worker.slides.reader import BLOCK_PX, SlideDescription, SlideWarning
from worker.slides.sandbox.process import INVALID_ANSWER, DecoderProcess
from worker.slides.sandbox.server import DecoderServer
from worker.slides.sandbox.shared_memory import SharedPixels

MAX_BYTES: Final = 4 * 2**30
READ_S: Final = 60.0
_REQUEST_PX: Final = 2**22  # pixels of one request; the time limit is for so many


class Sandbox:
    """Opens slides, each in a process of its own. Threads may share it."""

    server_class = DecoderServer
    """What forks the processes."""

    def __init__(self, threads: int, *, max_bytes: int = MAX_BYTES, read_s: float = READ_S) -> None:
        self._threads = threads
        self._max_bytes = max_bytes
        self._read_s = read_s
        self._server: DecoderServer | None = None
        self._lock = Lock()

    @contextmanager
    def open(
        self, path: Path, mpp: float | None = None, mpp_source: MppSource = "order"
    ) -> Iterator["SandboxedSlide"]:
        """Yield the slide at `path`; its process ends with the context.

        `mpp`, in microns per pixel and stated by `mpp_source`, is used where the file states none.
        Raises `NotASlideError`, `UnreadableSlideError`, and `TemporaryError` if the process was
        killed from outside or cannot be started.
        """
        resolved = path.resolve()
        process = DecoderProcess(
            self._running_server(), resolved, self._threads, self._max_bytes, self._read_s
        )
        try:
            yield SandboxedSlide(process, self._threads, resolved, mpp, mpp_source)
        finally:
            process.end()

    def prepare(self) -> None:
        """Start the server of the processes if it is not running, which takes 0.7 s of a core.

        A failure is ignored here: the call that opens the next slide raises it.
        """
        with suppress(OSError):
            self._running_server()

    def _running_server(self) -> DecoderServer:
        """Return the server, a new one if there is none or the last one has ended."""
        with self._lock:
            if self._server is None or not self._server.is_alive:
                self._server = self.server_class()
            return self._server


class SandboxedSlide:
    """A slide that another process reads, up to `threads` regions at the same time.

    Its methods do what those of `worker.slides.slide.Slide` do.
    """

    warnings: tuple[SlideWarning, ...] = ()

    def __init__(
        self,
        process: DecoderProcess,
        threads: int,
        path: Path,
        mpp: float | None,
        mpp_source: MppSource,
    ) -> None:
        self._process = process
        self.threads = threads
        self.process_id = process.id
        answer = process.ask(
            {
                "method": "open",
                "path": str(path),
                "mpp": mpp,
                "mpp_source": mpp_source,
            }
        )
        if answer.frame is None or answer.description is None:
            raise SlideDecodingError(INVALID_ANSWER)
        self.frame = answer.frame
        self.description = SlideDescription(
            answer.description.vendor, answer.description.levels, answer.description.associated
        )
        self.reader = answer.reader
        self.warnings = tuple(
            SlideWarning(warning.code, warning.detail) for warning in answer.warnings
        )

    @property
    def shared(self) -> SharedPixels:
        """The memory that the process can write decoded tiles into."""
        return self._process.pixels

    def fill(
        self, region: Pixels, x: float, y: float, downsample_x: float, downsample_y: float
    ) -> None:
        """Do as `Slide.fill`. The pixels are received into `region`, which must be contiguous."""
        request = {
            "method": "fill",
            "shape": region.shape,
            "x": x,
            "y": y,
            "downsample_x": downsample_x,
            "downsample_y": downsample_y,
        }
        self._process.ask(request, region)

    def workspace(self, number: int, shape: tuple[int, ...]) -> Pixels:
        """Return memory for thread `number`, shared with the process if a slot is large enough."""
        if number < self.threads:
            slot = self._process.pixels.slot(number, shape)
            if slot is not None:
                return slot
        return np.empty(shape, np.uint8)

    def fill_tiles(
        self,
        tiles: Pixels,
        corners: Sequence[tuple[float, float]],
        downsample_x: float,
        downsample_y: float,
    ) -> None:
        """Do as `Slide.fill_tiles`. No pixel is copied if `tiles` is a shared `workspace`."""
        batch_tiles = max(1, _REQUEST_PX // (tiles.shape[1] * tiles.shape[2]))
        for start in range(0, len(tiles), batch_tiles):
            batch = tiles[start : start + batch_tiles]
            batch_corners = corners[start : start + batch_tiles]
            offset = self._process.pixels.offset_of(batch)
            if offset is None:
                for tile, (x, y) in zip(batch, batch_corners, strict=True):
                    self.fill(tile, x, y, downsample_x, downsample_y)
                continue
            request = {
                "method": "fill_tiles",
                "shape": batch.shape,
                "offset": offset,
                "corners": batch_corners,
                "downsample_x": downsample_x,
                "downsample_y": downsample_y,
            }
            self._process.ask(request)

    def read_associated(self, name: str) -> Pixels:
        """Do as `Slide.read_associated`. Raises `UnreadableSlideError`."""
        width_px, height_px = self.description.associated.get(name, (0, 0))
        if not 0 < width_px * height_px <= BLOCK_PX:
            raise SlideDecodingError(f"it has no image {name[:100]!r}", hint="")
        image = np.empty((height_px, width_px, 3), np.uint8)
        self._process.ask({"method": "associated", "name": name}, image)
        return image

    def overview(self, area: Area, max_px: int) -> Pixels:
        """Do as `Slide.overview`."""
        return read_overview(self, area, max_px)
