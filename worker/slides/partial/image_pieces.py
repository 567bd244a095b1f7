"""A slide of which only a part is near, opened by its manifest: pictures from an image server, or ranges of its file.

Owns how pictures become a region. Knows slides by their manifest; must not know how the parts came.
"""

import struct
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import PIL
from PIL import Image

from broker.errors import OrderError
from worker.geometry.frame import Area
from worker.geometry.mpp import server_properties
from worker.slides.partial.file_ranges import open_ranged
from worker.slides.partial.manifest import Pieces, Ranges, read
from worker.slides.reader import BLOCK_PX, SlideReader

_FORMATS: Final = {".png": "PNG", ".jpg": "JPEG"}
_CACHE_BYTES: Final = 64 * 2**20
_BROKEN: Final = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)


def open_cutout(path: Path) -> SlideReader:
    """The slide of the manifest at `path`. Raises `OrderError`: `not_a_slide`, `slide_unreadable`."""
    manifest = read(path)
    if isinstance(manifest, Ranges):
        return open_ranged(path.parent, manifest)
    return PiecedPyramid(path.parent, manifest)


class PiecedPyramid:
    """Pictures of parts of one level, which together cover the box that may be read. Threads may share it."""

    stored = None

    def __init__(self, folder: Path, manifest: Pieces) -> None:
        self._folder, self._manifest = folder, manifest
        suffixes = {Path(piece.file).suffix for piece in manifest.pieces}
        largest_px = max(piece.box.width * piece.box.height for piece in manifest.pieces)
        if not suffixes <= _FORMATS.keys() or largest_px > BLOCK_PX:
            raise _unreadable(f"pieces of the kinds {sorted(suffixes)} and up to {largest_px} px")
        kinds = " and ".join(sorted(_FORMATS[suffix] for suffix in suffixes))
        self.name = f"image server ({manifest.server}, {kinds}), Pillow {PIL.__version__}"
        self.properties: Mapping[str, str] = server_properties(manifest.mpp_x, manifest.mpp_y)
        self.level_dimensions = ((manifest.width, manifest.height),)
        self.level_downsamples = (1.0,)
        self._boxes = np.array([_corners(piece.box) for piece in manifest.pieces])
        # Threads read neighbouring regions, which share pieces; each piece is decoded whole.
        self._decoded = lru_cache(max(1, _CACHE_BYTES // (4 * largest_px)))(self._decode)

    def read_region(
        self, location: tuple[int, int], level: int, size: tuple[int, int]
    ) -> Image.Image:
        """The region at level-0 `location` in RGBA, transparent outside the slide.

        Raises `OrderError`: `slide_unreadable`, also for what was not fetched: it is never shown as if it were empty.
        """
        if level:
            raise ValueError(
                f"there is no level {level}: an image server gives the full resolution"
            )
        left, top, right, bottom = wanted = _corners(Area(*location, *size))
        self._refuse_holes(wanted)
        region = Image.new("RGBA", size)
        begin = np.maximum(self._boxes[:, :2], (left, top))
        end = np.minimum(self._boxes[:, 2:], (right, bottom))
        for number in np.flatnonzero((begin < end).all(axis=1)).tolist():
            (x, y), (x_end, y_end) = begin[number].tolist(), end[number].tolist()
            box = self._manifest.pieces[number].box
            part = self._decoded(number).crop((x - box.x, y - box.y, x_end - box.x, y_end - box.y))
            region.paste(part, (x - left, y - top))
        return region

    def close(self) -> None:
        """Forget what was decoded."""
        self._decoded.cache_clear()

    def _refuse_holes(self, wanted: tuple[int, int, int, int]) -> None:
        width, height = self.level_dimensions[0]
        left, top, right, bottom = (
            max(0, wanted[0]),
            max(0, wanted[1]),
            min(width, wanted[2]),
            min(height, wanted[3]),
        )
        near = _corners(self._manifest.within)
        inside = near[0] <= left and near[1] <= top and right <= near[2] and bottom <= near[3]
        if left < right and top < bottom and not inside:
            raise OrderError(
                "slide_unreadable",
                f"Only a part of the slide is here: {wanted} reaches beyond what was fetched, {near}",
                hint="order the region again; it is then fetched for the algorithm as it is now",
            )

    def _decode(self, number: int) -> Image.Image:
        piece = self._manifest.pieces[number]
        suffix = Path(piece.file).suffix
        try:
            with Image.open(self._folder / piece.file, formats=(_FORMATS[suffix],)) as picture:
                if picture.size != (piece.box.width, piece.box.height):
                    raise _unreadable(
                        f"{piece.file} has {picture.width} x {picture.height} px, which are not its box's"
                    )
                return picture.convert("RGBA")
        except _BROKEN as error:
            # Pillow's words may hold the path, which is nobody's business.
            said = str(error).replace(str(self._folder), "")
            raise _unreadable(f"{piece.file} cannot be decoded: {said}") from error


def _corners(box: Area) -> tuple[int, int, int, int]:
    return box.x, box.y, box.x + box.width, box.y + box.height


def _unreadable(detail: str) -> OrderError:
    return OrderError(
        "slide_unreadable",
        f"What the image server gave cannot be read: {detail}",
        hint="see that the server serves this region in a viewer, and order again",
    )
