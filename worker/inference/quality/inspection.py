"""Looks at the sample tiles of a scan before it is classified: every doubt about it, in one list.

The tiles are those that the algorithm is calibrated on, so nothing more is read for it.
"""

from dataclasses import dataclass
from typing import Final

from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.order import ScanWarning
from broker.orders.stains import FLUORESCENCE, OnMismatch
from worker.geometry.frame import Frame, Pixels
from worker.geometry.tile_grid import Grid
from worker.inference.quality.artefacts import (
    blur_warnings,
    find_ink,
    fold_warnings,
    ink_warnings,
    tissue_warnings,
)
from worker.inference.quality.sample_pixels import SamplePixels
from worker.inference.quality.stain import GREY, check_stain, look_at

_FINEST_OPTICAL_UM: Final = 0.05
"""No objective resolves more: one of 100 x with a camera of 5 um pixels."""


@dataclass(frozen=True, slots=True)
class StainRequest:
    """What an order says about the stain of a scan, and what it wants where the slide differs."""

    stain: str | None = None
    on_mismatch: OnMismatch = "fail"


NO_STAIN_STATED: Final = StainRequest()


def inspect(
    tiles: Pixels, grid: Grid, card: AlgorithmCard, request: StainRequest
) -> tuple[ScanWarning, ...]:
    """Return the warnings about sample tiles (N, E, E, 3) of the grid; N may be 0.

    Raises OrderError: `stain_unexpected` where the stain is clearly not one of the card's.
    """
    mpp = card.mpp or 1.0
    samples = SamplePixels.of(tiles)
    ink = find_ink(samples, mpp)
    look = look_at(samples, ink.pixels)
    warnings = list(check_stain(look, card, request.stain, request.on_mismatch))
    tile_mm2 = (grid.tile_px * mpp / 1000) ** 2
    warnings += tissue_warnings(samples, len(grid.tiles), tile_mm2)
    if look is not None and look.name not in (FLUORESCENCE, GREY):
        warnings += ink_warnings(ink)
        warnings += fold_warnings(samples, mpp, ink)
    warnings += blur_warnings(tiles, samples)
    return tuple(warnings)


def mpp_warnings(frame: Frame, card: AlgorithmCard) -> tuple[ScanWarning, ...]:
    """Return the warnings about the size of a pixel, for an algorithm that depends on it.

    A slide of smaller pixels than the algorithm works at is made smaller, by the mean of them, and
    loses nothing that the algorithm has seen in its training; so it has no warning.
    """
    if card.mpp is None or frame.mpp_x is None or frame.mpp_y is None:
        return ()
    warnings = []
    size = f"{frame.mpp_x:g} x {frame.mpp_y:g} microns per pixel"
    if frame.mpp_source in ("order", "locator"):
        detail = f"the slide does not state its resolution; the {frame.mpp_source} says {size}"
        warnings.append(ScanWarning(code="mpp_not_from_slide", detail=detail))
    if max(frame.mpp_x, frame.mpp_y) > card.mpp * card.mpp_tolerance:
        detail = f"the slide has {size}; {card.name} works at {card.mpp:g}, so it was enlarged"
        warnings.append(ScanWarning(code="mpp_far_from_model", detail=detail))
    if min(frame.mpp_x, frame.mpp_y) < _FINEST_OPTICAL_UM:
        detail = f"the slide has {size}, which no objective resolves; is it in another unit?"
        warnings.append(ScanWarning(code="mpp_far_from_model", detail=detail))
    return tuple(warnings)
