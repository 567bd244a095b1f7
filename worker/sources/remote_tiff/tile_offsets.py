"""The tiled pictures in a TIFF, and where in the file the tiles of a box of one are."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from worker.geometry.frame import Ints
from worker.sources.http.byte_ranges import Range, RangesUnsuitable
from worker.sources.remote_tiff.ifd import Tags, TiffDirectory

_IMAGE_WIDTH: Final = 256
_IMAGE_LENGTH: Final = 257
_COMPRESSION: Final = 259
_SAMPLES_PER_PIXEL: Final = 277
_PLANAR_CONFIGURATION: Final = 284
_TILE_WIDTH: Final = 322
_TILE_LENGTH: Final = 323
_TILE_OFFSETS: Final = 324
_TILE_BYTE_COUNTS: Final = 325
_IMAGE_DEPTH: Final = 32997
_SEPARATE_PLANES: Final = 2
_OLD_JPEG: Final = 6  # its tables are anywhere in the file
_HAMAMATSU: Final = 65420
"""In every NDPI file, which is no proper TIFF: strips with restart marks, 64-bit offsets."""


@dataclass(frozen=True, slots=True)
class TiledPicture:
    """One picture of `width` x `height` px, in tiles from its top left corner on, row by row.

    `starts` and `sizes`: (planes, rows, columns), bytes. A tile of no bytes is not stored.
    """

    width: int
    height: int
    tile_width: int
    tile_height: int
    starts: Ints
    sizes: Ints

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.width, self.height

    def tiles(self, left: int, top: int, right: int, bottom: int) -> Iterator[Range]:
        """Return where the stored tiles are that the half-open box in picture pixels touches."""
        rows = slice(top // self.tile_height, -(-bottom // self.tile_height))
        columns = slice(left // self.tile_width, -(-right // self.tile_width))
        starts = self.starts[:, rows, columns].ravel().tolist()
        sizes = self.sizes[:, rows, columns].ravel().tolist()
        return (
            Range(start, start + size) for start, size in zip(starts, sizes, strict=True) if size
        )


def tiled_pictures(directory: TiffDirectory, total_bytes: int) -> list[TiledPicture]:
    """Return all tiled pictures of a file of `total_bytes`.

    Raise `RangesUnsuitable` for a layout that is not supported.
    """
    if any(_HAMAMATSU in tags for tags in directory.ifds):
        raise RangesUnsuitable("it is an NDPI file")
    return [
        _picture(directory, tags, total_bytes) for tags in directory.ifds if _TILE_OFFSETS in tags
    ]


def _picture(directory: TiffDirectory, tags: Tags, total_bytes: int) -> TiledPicture:
    width = _number(directory, tags, _IMAGE_WIDTH, 0)
    height = _number(directory, tags, _IMAGE_LENGTH, 0)
    tile_width = _number(directory, tags, _TILE_WIDTH, 0)
    tile_height = _number(directory, tags, _TILE_LENGTH, 0)
    depth = _number(directory, tags, _IMAGE_DEPTH, 1)
    if min(width, height, tile_width, tile_height) < 1 or depth != 1:
        raise RangesUnsuitable("one of its pictures has no size, or more than two dimensions")
    if _number(directory, tags, _COMPRESSION, 1) == _OLD_JPEG:
        raise RangesUnsuitable("one of its pictures has old-style JPEG tiles")
    planes = 1
    if _number(directory, tags, _PLANAR_CONFIGURATION, 1) == _SEPARATE_PLANES:
        planes = _number(directory, tags, _SAMPLES_PER_PIXEL, 1)
    rows = -(-height // tile_height)
    columns = -(-width // tile_width)
    starts = directory.numbers(tags.get(_TILE_OFFSETS))
    sizes = directory.numbers(tags.get(_TILE_BYTE_COUNTS))
    if not 0 < starts.size == sizes.size == planes * rows * columns:
        raise RangesUnsuitable("one of its pictures has another number of tiles than it needs")
    # Each alone first: their sum could overflow.
    if int(max(starts.max(), sizes.max())) > total_bytes:
        raise RangesUnsuitable("one of its tiles lies outside the file")
    if int((starts + sizes).max()) > total_bytes:
        raise RangesUnsuitable("one of its tiles lies outside the file")
    shape = (planes, rows, columns)
    return TiledPicture(
        width, height, tile_width, tile_height, starts.reshape(shape), sizes.reshape(shape)
    )


def _number(directory: TiffDirectory, tags: Tags, code: int, default: int) -> int:
    """Return the first whole number of a tag."""
    numbers = directory.numbers(tags.get(code))
    if not numbers.size:
        return default
    return int(numbers[0])
