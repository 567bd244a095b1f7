"""A scan whose slide is open, as the process that runs a site's code may use it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.order import Order, ScanWarning
from broker.orders.request import ScanRequest
from worker.geometry.frame import Area, Frame, Pixels, microns
from worker.geometry.scan_roi import ScanRoi
from worker.geometry.tile_grid import Grid, tile_grid
from worker.inference import tissue
from worker.inference.parallel_tiles import MappedTiles, map_tiles
from worker.progress import Progress, Watched
from worker.slides.reader import ReadableSlide
from worker.slides.sandbox.client import SandboxedSlide
from worker.slides.sandbox.shared_memory import SharedPixels

_STEP = "classifying"
_MOST_WARNINGS = 100


class ScanContext:
    """What the worker does for the `Context` of one scan. Only one thread may read through it."""

    def __init__(
        self,
        order: Order,
        request: ScanRequest,
        card: AlgorithmCard,
        folder: Path,
        progress: Progress,
    ) -> None:
        self.order_id = order.id
        self.scan_id = request.id
        self.labels: Mapping[str, str] = order.request.labels
        self.stain = request.stain or ""
        self.folder = folder
        self.stall_limit_s = card.stall_limit_s
        self.warnings: list[ScanWarning] = []
        self._card = card
        self._progress = progress
        self._watched: Watched | None = None
        if isinstance(progress, Watched):
            self._watched = progress
        self._reported = (_STEP, 0, 1)
        self._has_own_progress = False
        self._moved_at = monotonic()
        self._readers: dict[int, Iterator[tuple[dict[str, Any], Pixels]]] = {}
        self._lock = Lock()

    def open(self, path: Path, slide: ReadableSlide, area: Area) -> None:
        """Let the slide be read, whose file is at `path`."""
        self.path = path
        self.frame: Frame = slide.frame
        self.area = area
        self.width = slide.frame.width
        self.height = slide.frame.height
        self.mpp_x = slide.frame.mpp_x
        self.mpp_y = slide.frame.mpp_y
        self.roi = ScanRoi(area)
        self.shared: SharedPixels | None = None
        if isinstance(slide, SandboxedSlide):
            self.shared = slide.shared
        self._slide = slide

    @contextmanager
    def reading(self) -> Iterator[None]:
        """End the threads that read tiles with the context."""
        try:
            yield
        finally:
            self.close()

    @property
    def still_s(self) -> float:
        """Seconds since the work moved on."""
        return monotonic() - self._moved_at

    def moved(self) -> None:
        """Note that the work moves on, though nothing says how far it is. Any thread may call."""
        self._moved_at = monotonic()
        if self._watched is not None:
            self._watched.moved()

    def check(self) -> None:
        """Raise StopWork if the work must end."""
        self._progress.report(*self._reported)

    def report(self, step: str, done: int, total: int) -> None:
        """Report how far the step is, as `Progress` does; the context is one for the tiles."""
        with self._lock:
            if self._reported != (step, done, total):
                self._moved_at = monotonic()
            self._reported = (step, done, total)
        self.check()

    def read(
        self, x: float, y: float, width_px: int, height_px: int, mpp: float | None = None
    ) -> Pixels:
        """Return the pixels from level-0 (x, y) on, uint8 (height_px, width_px, 3)."""
        downsample_x = 1.0
        downsample_y = 1.0
        if mpp is not None:
            mpp_x, mpp_y = microns(self.frame)
            downsample_x = mpp / mpp_x
            downsample_y = mpp / mpp_y
        pixels = np.empty((height_px, width_px, 3), np.uint8)
        self._slide.fill(pixels, x, y, downsample_x, downsample_y)
        return pixels

    def begin_tiles(self, mpp: float, size_px: int, halo_px: int, *, tissue_only: bool) -> int:
        """Begin to read the squares of the area; return a number to go on with.

        Raises ValueError for an impossible size, and OrderError as `tile_grid`.
        """
        if not (mpp > 0 and 0 < size_px <= 4096 and 0 <= halo_px <= 2048):
            raise ValueError(f"tiles of {size_px} px with {halo_px} px around at {mpp:g} mpp")
        update = {"mpp": mpp, "tile_px": size_px, "halo_px": halo_px, "overlap_px": 0}
        grid = tile_grid(self.area, self.frame, self._card.model_copy(update=update))
        if tissue_only:
            grid = tissue.tissue_tiles(self._slide, grid)
        number = len(self._readers)
        self._readers[number] = self._read_tiles(grid)
        return number

    def next_tile(self, number: int) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return the fields of the next square, None after the last one, and its pixels."""
        self.check()
        found = next(self._readers[number], None)
        if found is None:
            return {"value": None}, {}
        fields, pixels = found
        if not self._has_own_progress:
            self.report(_STEP, fields["number"], fields["count"])
        return {"value": fields}, {"pixels": pixels}

    def progress(self, done: int, total: int) -> None:
        """Say how far the work is. Raises StopWork."""
        self._has_own_progress = True
        self.report(_STEP, max(0, done), max(0, total))

    def warn(self, code: str, detail: str) -> None:
        """Add a warning to the result."""
        if len(self.warnings) < _MOST_WARNINGS:
            self.warnings.append(own_warning(code, detail))

    def close(self) -> None:
        """End the threads that read tiles."""
        for reader in self._readers.values():
            reader.close()  # type: ignore[attr-defined]

    def _read_tiles(self, grid: Grid) -> Iterator[tuple[dict[str, Any], Pixels]]:
        count = len(grid.tiles)
        if not count:
            return
        described = {
            "count": count,
            "halo_px": grid.halo_px,
            "downsample": [grid.downsample_x, grid.downsample_y],
        }
        number = 0
        for batch in map_tiles(self._slide, grid, 1, np.copy):
            for fields, pixels in _single(batch):
                yield {**fields, **described, "number": number}, pixels
                number += 1


def _single(batch: MappedTiles[Any]) -> Iterator[tuple[dict[str, Any], Pixels]]:
    for tile, pixels in zip(batch.tiles, batch.value, strict=True):
        yield {"x": tile.x, "y": tile.y}, pixels


def own_warning(code: str, detail: str) -> ScanWarning:
    """Return a warning of a site's code, with a code that is fit to be searched for."""
    kept = "".join(
        [char for char in code.lower().replace(" ", "_") if char.isalnum() or char == "_"]
    )
    return ScanWarning(code=kept[:64] or "algorithm", detail=" ".join(detail.split())[:500])
