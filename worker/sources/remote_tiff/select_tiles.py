"""Which bytes of a tiled TIFF reading a region takes."""

from collections.abc import Sequence
from typing import Final

from broker.errors import OrderError
from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.roi import Roi
from worker.geometry.frame import Frame
from worker.geometry.roi import read_footprint, resolve_roi
from worker.slides.partial import manifest
from worker.slides.sandbox.client import Sandbox
from worker.sources.http.byte_ranges import Range, RangesUnsuitable
from worker.sources.remote_tiff.ifd import TiffDirectory
from worker.sources.remote_tiff.sparse_file import SparseFile
from worker.sources.remote_tiff.tile_offsets import TiledPicture, tiled_pictures

_MAX_SHARE: Final = 0.6  # a larger part takes as long as the whole, which serves every order
_ROUNDING_PX: Final = 2  # levels round their sizes


def select_tiles(
    file: SparseFile, roi: Roi, mpp: float | None, card: AlgorithmCard, sandbox: Sandbox
) -> manifest.Ranges:
    """Fetch all of the file that reading the region takes, and return what that is.

    Raise `RangesUnsuitable`, and `OrderError` where reading the region would.
    """
    pictures = tiled_pictures(TiffDirectory.fetch(file), file.total_bytes)
    if not pictures:
        raise RangesUnsuitable("none of its pictures is tiled")
    # A reader decodes one tile of a file that it opens.
    file.need(pictures[0].tiles(0, 0, 1, 1))
    frame = _frame(file, mpp, sandbox)
    full_size = (frame.width, frame.height)
    footprint = read_footprint(resolve_roi(roi, frame), frame, card)
    levels = _levels(pictures, full_size)
    needed: list[Range] = []
    for level in levels:
        box = manifest.filled(footprint, full_size, level.size)
        needed.extend(level.tiles(*box))
    if file.bytes_with(needed) > _MAX_SHARE * file.total_bytes:
        raise RangesUnsuitable("the region needs most of it")
    file.need(needed)
    sizes = dict.fromkeys(level.size for level in levels)
    return manifest.Ranges(file=file.path.name, within=footprint, levels=tuple(sizes))


def _frame(file: SparseFile, mpp: float | None, sandbox: Sandbox) -> Frame:
    """Return the slide's frame as a reader of the whole file would find it."""
    try:
        with sandbox.open(file.path, mpp) as slide:
            return slide.frame
    except OrderError as error:
        raise RangesUnsuitable(f"without its tiles it does not open: {error.detail}") from None


def _levels(pictures: Sequence[TiledPicture], full_size: tuple[int, int]) -> list[TiledPicture]:
    """Return the pictures that show the whole slide at any resolution.

    Raise `RangesUnsuitable` where none has its full size: such a format lays out its canvas in
    another way (several scanned regions, overlapping tiles).
    """
    if all(picture.size != full_size for picture in pictures):
        width, height = full_size
        raise RangesUnsuitable(f"none of its pictures has the slide's {width} x {height} px")
    return [picture for picture in pictures if _has_same_shape(picture.size, full_size)]


def _has_same_shape(size: tuple[int, int], full_size: tuple[int, int]) -> bool:
    skew_px2 = abs(size[0] * full_size[1] - size[1] * full_size[0])
    return size[0] <= full_size[0] and skew_px2 <= _ROUNDING_PX * max(full_size)
