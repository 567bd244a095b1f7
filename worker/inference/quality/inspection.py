"""Looks at the sample tiles of a scan before it is classified: every doubt about it, in one list.

The tiles are those that the algorithm is calibrated on, so nothing more is read for it.
"""

from dataclasses import dataclass
from typing import Final

from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.order import ScanWarning
from broker.orders.stains import FLUORESCENCE, OnMismatch
from worker.geometry.frame import Pixels
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
