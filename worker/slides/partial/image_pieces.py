"""A part of a slide, put together from images of an image server.

Knows the images by their manifest, and not how they were fetched.
"""

import struct
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import PIL
from PIL import Image

from worker.geometry.frame import Area
from worker.geometry.mpp import server_properties
from worker.slides.errors import RegionNotFetchedError, UnreadableImagePieceError
from worker.slides.partial.manifest import Pieces
from worker.slides.reader import BLOCK_PX, SlideWarning

_FORMATS: Final = {".png": "PNG", ".jpg": "JPEG"}
_CACHE_BYTES: Final = 64 * 2**20
_RGBA_BYTES: Final = 4
# What Pillow raises on damaged files.
_DECODING_ERRORS: Final = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)
_Edges = tuple[int, int, int, int]
"""Left, top, right and bottom in level-0 pixels."""


class ImagePiecesReader:
    """A `SlideReader` of images that together cover a box of level 0. Threads may share it."""

    tile_reader = None
    warnings: tuple[SlideWarning, ...] = ()

    def __init__(self, folder: Path, manifest: Pieces) -> None:
        """Raise `UnreadableSlideError` for pieces that are too large or of another format."""
        suffixes = {Path(piece.file).suffix for piece in manifest.pieces}
        largest_px = max(piece.box.width * piece.box.height for piece in manifest.pieces)
        if not suffixes <= _FORMATS.keys() or largest_px > BLOCK_PX:
            raise UnreadableImagePieceError(
                f"pieces of the kinds {sorted(suffixes)} and up to {largest_px} px"
            )
        formats = " and ".join(sorted(_FORMATS[suffix] for suffix in suffixes))
        self._folder = folder
        self._manifest = manifest
        self.name = f"image server ({manifest.server}, {formats}), Pillow {PIL.__version__}"
        self.properties: Mapping[str, str] = server_properties(manifest.mpp_x, manifest.mpp_y)
        self.level_dimensions = ((manifest.width, manifest.height),)
        self.level_downsamples = (1.0,)
        self._edges = np.array([_edges(piece.box) for piece in manifest.pieces])
        # A piece is decoded whole, and threads read neighbouring regions, which share pieces.
        cached_pieces = max(1, _CACHE_BYTES // (_RGBA_BYTES * largest_px))
        self._decode_cached = lru_cache(cached_pieces)(self._decode)

    def read_region(
        self, location: tuple[int, int], level: int, size: tuple[int, int]
    ) -> Image.Image:
        """Return the region at level-0 `location` in RGBA, transparent outside of the slide.

        Raises `UnreadableSlideError`, also for pixels that were not fetched: they are never shown
        as if they were empty. Raises `ValueError` for any level but 0.
        """
        if level:
            raise ValueError(
                f"there is no level {level}: an image server gives the full resolution"
            )
        edges = _edges(Area(*location, *size))
        self._require_fetched(edges)
        left, top, right, bottom = edges
        region = Image.new("RGBA", size)
        starts = np.maximum(self._edges[:, :2], (left, top))
        ends = np.minimum(self._edges[:, 2:], (right, bottom))
        for number in np.flatnonzero((starts < ends).all(axis=1)).tolist():
            x, y = starts[number].tolist()
            end_x, end_y = ends[number].tolist()
            box = self._manifest.pieces[number].box
            box_in_piece = (x - box.x, y - box.y, end_x - box.x, end_y - box.y)
            part = self._decode_cached(number).crop(box_in_piece)
            region.paste(part, (x - left, y - top))
        return region

    def close(self) -> None:
        """Free the decoded pieces."""
        self._decode_cached.cache_clear()

    def _require_fetched(self, edges: _Edges) -> None:
        """Raise `UnreadableSlideError` if a pixel of the slide within `edges` was not fetched."""
        width, height = self.level_dimensions[0]
        left = max(0, edges[0])
        top = max(0, edges[1])
        right = min(width, edges[2])
        bottom = min(height, edges[3])
        is_outside_slide = left >= right or top >= bottom
        if is_outside_slide:
            return
        fetched = _edges(self._manifest.within)
        is_fetched = (
            fetched[0] <= left
            and fetched[1] <= top
            and right <= fetched[2]
            and bottom <= fetched[3]
        )
        if not is_fetched:
            raise RegionNotFetchedError(f"{edges} reaches beyond what was fetched, {fetched}")

    def _decode(self, number: int) -> Image.Image:
        piece = self._manifest.pieces[number]
        image_format = _FORMATS[Path(piece.file).suffix]
        try:
            with Image.open(self._folder / piece.file, formats=(image_format,)) as image:
                if image.size == (piece.box.width, piece.box.height):
                    return image.convert("RGBA")
                raise UnreadableImagePieceError(
                    f"{piece.file} has {image.width} x {image.height} px, which are not its box's"
                )
        except _DECODING_ERRORS as error:
            # Pillow's message may contain the path, which must not be disclosed.
            message = str(error).replace(str(self._folder), "")
            raise UnreadableImagePieceError(f"{piece.file} cannot be decoded: {message}") from error


def _edges(box: Area) -> _Edges:
    return box.x, box.y, box.x + box.width, box.y + box.height
