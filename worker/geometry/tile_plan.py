"""What an algorithm would read of a slide: known from sizes alone, before any pixel is read."""

from dataclasses import dataclass, replace

from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.order import ScanWarning
from broker.orders.roi import Roi
from worker.geometry.frame import Frame, MppSource
from worker.geometry.mpp_warnings import mpp_warnings
from worker.geometry.roi import resolve_roi
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


def plan_tiles(
    card: AlgorithmCard, roi: Roi | None, frame: Frame, mpp: float | None, mpp_source: MppSource
) -> TilePlan:
    """Return what `card`'s algorithm would read of the region.

    `mpp`: microns per pixel that count where the slide states none, with their source. Raise
    `OrderError`: `roi_outside_slide`, `request_invalid`, `mpp_unfit`, `input_too_large`.
    """
    if frame.mpp_x is None and mpp is not None:
        frame = replace(frame, mpp_x=mpp, mpp_y=mpp, mpp_source=mpp_source)
    area = resolve_roi(roi, frame)
    if card.mpp is None:
        return TilePlan(frame, None)
    if frame.mpp_x is None:
        detail = "the slide does not say how large a pixel is, and the order would fail: give mpp"
        return TilePlan(frame, None, (ScanWarning(code="mpp_missing", detail=detail),))
    tiles = len(tile_grid(area, frame, card).tiles)
    return TilePlan(frame, tiles, mpp_warnings(frame, card))
