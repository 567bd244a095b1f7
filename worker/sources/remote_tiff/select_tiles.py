"""What of a tiled TIFF is needed to read a region of it: the directory, and tiles of every level of the slide.

Owns that choice. Must not know how bytes are transferred, or how tiles are decoded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from broker.errors import OrderError
from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.roi import Roi
from worker.geometry.frame import Area, Frame
from worker.geometry.roi import read_footprint, resolve_roi
from worker.slides.partial import manifest
from worker.slides.sandbox.client import Sandbox
from worker.sources.http.byte_ranges import RangesUnsuitable
from worker.sources.remote_tiff.ifd import TiffDirectory
from worker.sources.remote_tiff.sparse_file import SparseFile
from worker.sources.remote_tiff.tile_offsets import TiledPicture, tiled_pictures

_WORTH_SHARE: Final = (
    0.6  # of the file; beyond that the whole comes as fast, and serves every other order as well
)
_SAME_SHAPE_PX: Final = 2  # levels round their sizes


@dataclass(frozen=True, slots=True)
class Needs:
    """A region, what the order says of its microns per pixel, and the card whose tiles will cover it."""

    roi: Roi
    mpp: float | None
    card: AlgorithmCard

    def within(self, frame: Frame) -> Area:
        """The box that must be near."""
        return read_footprint(resolve_roi(self.roi, frame), frame, self.card)


def select_tiles(file: SparseFile, needs: Needs, sandbox: Sandbox) -> manifest.Ranges:
    """Have all of the file that reading the region takes. Raises `RangesUnsuitable`, and `OrderError` as reading it would."""
    pictures = tiled_pictures(TiffDirectory.of(file), file.total_bytes)
    if not pictures:
        raise RangesUnsuitable("none of its pictures is tiled")
    file.need(pictures[0].tiles(0, 0, 1, 1))  # readers try whether they can decode what they open
    frame = _frame(file, needs, sandbox)
    within, full = needs.within(frame), (frame.width, frame.height)
    levels = _levels(pictures, full)
    wanted = [
        tile for level in levels for tile in level.tiles(*manifest.filled(within, full, level.size))
    ]
    if file.bytes_with(wanted) > _WORTH_SHARE * file.total_bytes:
        raise RangesUnsuitable("the region needs most of it")
    file.need(wanted)
    return manifest.Ranges(
        file=file.path.name, within=within, levels=tuple(dict.fromkeys(lv.size for lv in levels))
    )


def _frame(file: SparseFile, needs: Needs, sandbox: Sandbox) -> Frame:
    """The slide's frame as classifying will see it."""
    try:
        with sandbox.open(file.path, needs.mpp) as slide:
            frame = slide.frame
    except OrderError as error:
        raise RangesUnsuitable(f"without its tiles it does not open: {error.detail}") from None
    sandbox.prepare()
    return frame


def _levels(pictures: Sequence[TiledPicture], full: tuple[int, int]) -> list[TiledPicture]:
    """The pictures that show the whole slide, at any resolution. One of full size must be among them.

    Where a format lays out its canvas in another way (several scanned regions, overlapping tiles), none is.
    """
    if all(picture.size != full for picture in pictures):
        raise RangesUnsuitable(f"none of its pictures has the slide's {full[0]} x {full[1]} px")
    return [picture for picture in pictures if _same_shape(picture.size, full)]


def _same_shape(size: tuple[int, int], full: tuple[int, int]) -> bool:
    skew_px2 = abs(size[0] * full[1] - size[1] * full[0])
    return size[0] <= full[0] and skew_px2 <= _SAME_SHAPE_PX * max(full)
