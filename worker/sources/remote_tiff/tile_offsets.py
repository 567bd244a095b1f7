"""The tiled pictures in a TIFF, and where the tiles of a box of one lie.

Owns what the tags of a tiled picture say. Must not know slides, levels or how bytes are fetched.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from worker.geometry.frame import Ints
from worker.sources.http.byte_ranges import Range, RangesUnsuitable
from worker.sources.remote_tiff.ifd import Tags, TiffDirectory

_WIDTH, _HEIGHT, _COMPRESSION, _PLANAR, _SAMPLES = 256, 257, 259, 284, 277
_TILE_WIDTH, _TILE_HEIGHT, _OFFSETS, _COUNTS, _DEPTH = 322, 323, 324, 325, 32997
_SEPARATE_PLANES: Final = 2
_OLD_JPEG: Final = 6  # its tables lie wherever its tags point to
_HAMAMATSU: Final = 65420  # NDPI bends the rules of TIFF: strips with restart marks, offsets of 64 bits in a classic file


@dataclass(frozen=True, slots=True)
class TiledPicture:
    """One picture of `width` x `height` px, cut into tiles from its top left corner on, row by row.

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
        """Width and height."""
        return self.width, self.height

    def tiles(self, left: int, top: int, right: int, bottom: int) -> Iterator[Range]:
        """The stored tiles that this half-open box, in pixels of the picture, touches."""
        rows = slice(top // self.tile_height, -(-bottom // self.tile_height))
        columns = slice(left // self.tile_width, -(-right // self.tile_width))
        starts, sizes = (
            values[:, rows, columns].ravel().tolist() for values in (self.starts, self.sizes)
        )
        return (
            Range(start, start + size) for start, size in zip(starts, sizes, strict=True) if size
        )


def tiled_pictures(directory: TiffDirectory, total_bytes: int) -> list[TiledPicture]:
    """All tiled pictures of a file of so many bytes. Raises `RangesUnsuitable` where one is laid out in no way known here."""
    if any(_HAMAMATSU in tags for tags in directory.ifds):
        raise RangesUnsuitable("it is an NDPI file")
    return [_picture(directory, tags, total_bytes) for tags in directory.ifds if _OFFSETS in tags]


def _picture(directory: TiffDirectory, tags: Tags, total_bytes: int) -> TiledPicture:
    width, height, tile_width, tile_height = (
        _number(directory, tags, code, 0) for code in (_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT)
    )
    if min(width, height, tile_width, tile_height) < 1 or _number(directory, tags, _DEPTH, 1) != 1:
        raise RangesUnsuitable("one of its pictures has no size, or more than two dimensions")
    if _number(directory, tags, _COMPRESSION, 1) == _OLD_JPEG:
        raise RangesUnsuitable("one of its pictures has old-style JPEG tiles")
    separate = _number(directory, tags, _PLANAR, 1) == _SEPARATE_PLANES
    planes = _number(directory, tags, _SAMPLES, 1) if separate else 1
    shape = planes, -(-height // tile_height), -(-width // tile_width)
    starts, sizes = (directory.numbers(tags.get(code)) for code in (_OFFSETS, _COUNTS))
    if not 0 < starts.size == sizes.size == shape[0] * shape[1] * shape[2]:
        raise RangesUnsuitable("one of its pictures has another number of tiles than it needs")
    if (
        int(max(starts.max(), sizes.max())) > total_bytes
        or int((starts + sizes).max()) > total_bytes
    ):
        raise RangesUnsuitable("one of its tiles lies outside the file")
    return TiledPicture(
        width, height, tile_width, tile_height, starts.reshape(shape), sizes.reshape(shape)
    )


def _number(directory: TiffDirectory, tags: Tags, code: int, default: int) -> int:
    """The first whole number of a tag."""
    found = directory.numbers(tags.get(code))
    return int(found[0]) if found.size else default
