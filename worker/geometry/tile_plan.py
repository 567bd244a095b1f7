"""What an algorithm would read of a slide: known from sizes alone, before any pixel is read."""

from dataclasses import dataclass, replace

from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.order import ScanWarning
from broker.orders.roi import Roi, RoiLimits
from worker.geometry.frame import Frame, MppSource
from worker.geometry.mpp_warnings import mpp_warnings
from worker.geometry.roi import check_limits, resolve_roi
from worker.geometry.tile_grid import tile_grid


@dataclass(frozen=True, slots=True)
class TilePlan:
    """The frame of a scan with the resolution that counts for it, and its tiles.

    `tiles`: those that cover the region, of which a worker leaves out the ones without tissue
    where the card says so; None where the algorithm reads no tiles, or nothing states the
    resolution.
    """

    frame: Frame
    tiles: int | None
    warnings: tuple[ScanWarning, ...] = ()


def with_mpp(frame: Frame, mpp: float | None, source: MppSource) -> Frame:
    """Return the frame with these microns per pixel, unless the slide states its own."""
    if frame.mpp_x is not None or mpp is None:
        return frame
    return replace(frame, mpp_x=mpp, mpp_y=mpp, mpp_source=source)


def plan_tiles(
    card: AlgorithmCard, roi: Roi | None, limits: RoiLimits | None, frame: Frame
) -> TilePlan:
    """Return what `card`'s algorithm would read of the region, which must be within the limits.

    Raise `OrderError`: `roi_outside_slide`, `roi_too_large`, `request_invalid`, `mpp_unfit`,
    `input_too_large`; `mpp_missing` where square millimetres are limited.
    """
    area = resolve_roi(roi, frame)
    check_limits(area, frame, limits)
    if card.mpp is None:
        return TilePlan(frame, None)
    if frame.mpp_x is None:
        detail = "the slide does not say how large a pixel is, and the order would fail: give mpp"
        return TilePlan(frame, None, (ScanWarning(code="mpp_missing", detail=detail),))
    tiles = len(tile_grid(area, frame, card).tiles)
    return TilePlan(frame, tiles, mpp_warnings(frame, card))
