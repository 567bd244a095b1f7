"""One open slide, and the pictures that are made of it.

A slide without coarse levels would be decoded whole for every coarse tile. An overview of it is
read once, and all coarser tiles are cut from that.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final, TypeVar

import numpy as np
import simplejpeg
from PIL import Image

from broker.errors import OrderError
from worker.geometry.frame import Area, Pixels
from worker.slide_cache.local_slide import LocalSlide
from worker.slide_cache.reading import ReadSlideCache
from worker.slides.errors import SlideDecodingError
from worker.slides.sandbox.client import Sandbox, SandboxedSlide
from worker.viewer.iiif import ImageRequest
from worker.viewer.slides.allowed_slides import slide_gone

OVERVIEW_PX: Final = 2048
"""The longer side of the overview: 10 MB of a square slide."""
_JPEG_QUALITY: Final = 82
_STRIP_PX: Final = 2**26
"""Pixels of a level that one request to the decoder process takes: about a second of JPEG."""
_ROUNDING: Final = 1e-6

_Answer = TypeVar("_Answer")


class ViewedSlide:
    """An open slide. Threads may share it.

    `is_broken` is set once a read has failed: the decoder process may have ended, and OpenSlide
    fails every later read. The slide is to be opened again then.
    """

    def __init__(
        self, slide: LocalSlide, opened: SandboxedSlide, read_s: float, resources: ExitStack
    ) -> None:
        self.slide = slide
        self.frame = opened.frame
        self.description = opened.description
        self.is_broken = False
        self._opened = opened
        self._read_s = read_s
        self._resources = resources
        # As Pillow keeps it: from an array it would be copied for every tile.
        self._overview: Image.Image | None = None

    @property
    def threads(self) -> int:
        """Return how many pictures can be read at the same time."""
        return self._opened.threads

    @property
    def lacks_coarse_levels(self) -> bool:
        """Return whether coarse tiles are cut from an overview."""
        width, height = self.description.levels[-1]
        return max(width, height) > 2 * OVERVIEW_PX

    def is_cut_from_overview(self, request: ImageRequest) -> bool:
        """Return whether the overview has all the detail that is asked for."""
        if not self.lacks_coarse_levels:
            return False
        downsample = max(self.frame.width, self.frame.height) / OVERVIEW_PX
        finest = min(request.downsample_x, request.downsample_y)
        return finest >= downsample * (1 - _ROUNDING)

    def read_overview(self) -> None:
        """Read the overview, seconds of a large slide. Raise what reading raises."""
        whole = Area(0, 0, self.frame.width, self.frame.height)
        pixels = self._read(lambda: self._opened.overview(whole, OVERVIEW_PX))
        self._overview = Image.fromarray(pixels)

    def jpeg(self, request: ImageRequest) -> bytes:
        """Return the picture that is asked for as JPEG. Raise `OrderError`, `TemporaryError`."""
        if self._overview is not None and self.is_cut_from_overview(request):
            return _encoded(_cut(self._overview, request, self.frame.width, self.frame.height))
        return _encoded(self._read(lambda: self._region(request)))

    def associated_jpeg(self, name: str) -> bytes:
        """Return the label, macro image or thumbnail of this name as JPEG.

        Raise `OrderError`: `not_found` where the slide has none, and what reading raises.
        """
        if name not in self.description.associated:
            raise OrderError(
                "not_found",
                f"the slide has no image {name[:64]!r}",
                hint=f"it has: {', '.join(self.description.associated) or 'none'}",
            )
        return _encoded(self._read(lambda: self._opened.read_associated(name)))

    def close(self) -> None:
        """End the decoder process and release the slide."""
        self._resources.close()

    def _read(self, read: Callable[[], _Answer]) -> _Answer:
        """Return what `read` returns, and remember where it fails."""
        try:
            return read()
        except BaseException:
            self.is_broken = True
            raise

    def _region(self, request: ImageRequest) -> Pixels:
        """Return the box, read in strips that take the decoder about a second each."""
        pixels = np.empty((request.height_px, request.width_px, 3), np.uint8)
        deadline = time.monotonic() + self._read_s
        rows = self._strip_rows(request)
        for row in range(0, request.height_px, rows):
            if time.monotonic() > deadline:
                raise SlideDecodingError(
                    f"so large a part of it takes longer than {self._read_s:g} s to decode",
                    hint="ask for a smaller region, or save the slide as a pyramid",
                )
            self._opened.fill(
                pixels[row : row + rows],
                request.x,
                request.y + row * request.downsample_y,
                request.downsample_x,
                request.downsample_y,
            )
        return pixels

    def _strip_rows(self, request: ImageRequest) -> int:
        """Return how many rows of the picture are read at once."""
        downsample = min(request.downsample_x, request.downsample_y)
        scale = 1.0
        for width, _ in self.description.levels:
            level_scale = self.frame.width / width
            if level_scale <= downsample * (1 + _ROUNDING):
                scale = max(scale, level_scale)
        row_px = (request.width / scale) * (request.downsample_y / scale)
        return max(1, int(_STRIP_PX / max(1.0, row_px)))


class SlideOpener:
    """Opens slides, each in a process of its own. Threads may share it.

    `read_s`: the longest that one picture may take.
    """

    def __init__(self, cache: ReadSlideCache, sandbox: Sandbox, read_s: float) -> None:
        self._cache = cache
        self._sandbox = sandbox
        self._read_s = read_s

    def open(self, slide: LocalSlide) -> ViewedSlide:
        """Open the slide, and pin it where it is in the slide cache.

        Raise `OrderError`: `slide_gone`, `not_a_slide`, `slide_unreadable`; `TemporaryError`.
        """
        with ExitStack() as resources:
            if self._cache.holds(slide.path):
                pinned = resources.enter_context(self._cache.pinned(slide.digest))
                if pinned is None:
                    raise slide_gone()
                slide = pinned
            opened = resources.enter_context(self._sandbox.open(slide.path))
            return ViewedSlide(slide, opened, self._read_s, resources.pop_all())


def _cut(overview: Image.Image, request: ImageRequest, width: int, height: int) -> Pixels:
    """Return the picture from an overview of a slide of `width` x `height` px."""
    width_px, height_px = overview.size
    scale_x = width_px / width
    scale_y = height_px / height
    box = (
        request.x * scale_x,
        request.y * scale_y,
        min(width_px, (request.x + request.width) * scale_x),
        min(height_px, (request.y + request.height) * scale_y),
    )
    size = (request.width_px, request.height_px)
    return np.asarray(overview.resize(size, Image.Resampling.BILINEAR, box=box))


def _encoded(pixels: Pixels) -> bytes:
    encoded: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(pixels), _JPEG_QUALITY, "RGB", "420"
    )
    return encoded
