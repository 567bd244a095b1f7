"""Finds what spoils a section, in sample tiles: ink, folds, blur, and nearly no tissue.

Thresholds were chosen on the slides that docs/algorithms.md lists, with what they measured.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from broker.orders.order import ScanWarning
from worker.geometry.frame import Pixels
from worker.inference.quality.sample_pixels import Mask, SamplePixels, share
from worker.inference.quality.stain import SOME_EOSIN

# A block is about this large: more than a nucleus, less than a line of a pen or a fold.
_BLOCK_UM: Final = 24.0
_LEAST_BLOCK: Final = 4
# Ink is dense. Blue ink lies 11 to 17 degrees beyond haematoxylin, haematoxylin itself up to 4.
_INK_OD: Final = 0.3
# Red ink beside eosin. Erythrocytes, drawn after (215, 95, 80), have a density of 0.65, 0.63 of
# their red is missing in another channel, and they are uneven by 0.2; ink of (190, 30, 40) has
# 0.99, 0.84 and at most 0.13 over tissue. No real slide has a block of such red.
_RED_INK_OD: Final = 0.75
_PURE_RED: Final = 0.7
_FULL_OF_RED: Final = 0.8
_EVEN: Final = 0.15
_BLUE_IN_PLANE_DEG: Final = -8.0
_BLACK: Final = 90
_NO_COLOUR: Final = 25
_NOT_SCANNED: Final = 16
_INK_BLOCKS: Final = 0.002
"""No block of any real slide without ink was taken for ink."""
# A fold has tissue twice: even its lightest pixels are darker than stained pixels usually are.
_FOLD_OD: Final = 0.8
_FOLD_TIMES: Final = 1.8
_FOLD_BLOCKS: Final = 0.01
_LIGHTEST: Final = 10
# How much of the steepness is left after one more blur (Crete et al., "The blur effect", Proc SPIE
# 6492 (2007) 64920I): sharp slides up to 0.42, drawn ones 0.49, blurred by 3 px 0.66 or more.
_BLURRED: Final = 0.62
_BLUR_PX: Final = 5
_BLUR_CROP_PX: Final = 256
_EDGE: Final = 3.0
_LEAST_EDGES: Final = 200
_BLURRED_TILES: Final = 0.25
_LEAST_TISSUE_MM2: Final = 0.005
_LEAST_TISSUE: Final = 0.01


@dataclass(frozen=True, slots=True)
class Ink:
    """Pixels in and beside blocks full of ink, and the share of such blocks."""

    pixels: Mask
    blocks: float


def find_ink(samples: SamplePixels, mpp: float) -> Ink:
    """Return the ink in samples of `mpp` microns per pixel of a tile.

    Where there is eosin only red that is denser, purer and more even than blood is ink.
    """
    edge = _block_edge(samples, mpp)
    colours = samples.green | (samples.in_plane_deg < _BLUE_IN_PLANE_DEG)
    has_eosin = share(samples.eosin, samples.stained) >= SOME_EOSIN
    if not has_eosin:
        colours |= samples.red
    is_ink = colours & (samples.density > _INK_OD)
    brightest = samples.brightest
    is_black = (brightest < _BLACK) & (brightest - samples.darkest < _NO_COLOUR)
    is_ink |= is_black & (brightest > _NOT_SCANNED)
    full = _blocks(is_ink, edge).mean(axis=-1) > 0.5
    if has_eosin:
        full |= _red_blocks(samples, edge)
    pixels = np.zeros_like(is_ink)
    around = _with_neighbours(full).repeat(edge, axis=1).repeat(edge, axis=2)
    pixels[:, : around.shape[1], : around.shape[2]] = around
    return Ink(pixels, share(full))


def _red_blocks(samples: SamplePixels, edge: int) -> Mask:
    """Return the blocks full of a red that no stained tissue has, (N, rows, columns)."""
    is_pure = samples.brightest - samples.darkest > _PURE_RED * samples.brightest
    is_red = samples.red & is_pure & (samples.density > _RED_INK_OD)
    densities = _blocks(samples.density, edge)
    unevenness = densities.std(axis=-1) / np.maximum(densities.mean(axis=-1), _RED_INK_OD)
    full = _blocks(is_red, edge).mean(axis=-1) > _FULL_OF_RED
    return np.asarray(full & (unevenness < _EVEN))


def ink_warnings(ink: Ink) -> list[ScanWarning]:
    """Return a warning where there is ink."""
    if ink.blocks < _INK_BLOCKS:
        return []
    detail = f"{ink.blocks:.1%} of the sample tiles is covered by ink or pigment, as of a pen"
    return [ScanWarning(code="pen_marks", detail=detail)]


def fold_warnings(samples: SamplePixels, mpp: float, ink: Ink) -> list[ScanWarning]:
    """Return a warning where tissue seems to lie twice."""
    edge = _block_edge(samples, mpp)
    stained = samples.stained & ~ink.pixels
    if not stained.any():
        return []
    usual = float(np.median(samples.density[stained]))
    blocks = _blocks(samples.density, edge)
    has_tissue = _blocks(samples.matter & ~ink.pixels, edge).mean(axis=-1) > 0.5
    if not has_tissue.any():
        return []
    lightest = np.percentile(blocks[has_tissue], _LIGHTEST, axis=-1)
    folded = share(lightest > max(_FOLD_OD, _FOLD_TIMES * usual))
    if folded < _FOLD_BLOCKS:
        return []
    detail = f"{folded:.1%} of the tissue in the sample tiles is so dark that it may be folded"
    return [ScanWarning(code="tissue_folds", detail=detail)]


def blur_warnings(tiles: Pixels, samples: SamplePixels) -> list[ScanWarning]:
    """Return a warning where many of the sample tiles (N, E, E, 3) are out of focus."""
    judged = 0
    blurred = 0
    for number, tile in enumerate(tiles):
        left_of_edges = _blur(_most_stained(tile, samples.stained[number], samples.step))
        if left_of_edges is None:
            continue
        judged += 1
        if left_of_edges > _BLURRED:
            blurred += 1
    if not blurred or blurred < _BLURRED_TILES * judged:
        return []
    detail = f"{blurred} of {judged} sample tiles are out of focus"
    return [ScanWarning(code="slide_blurred", detail=detail)]


def tissue_warnings(samples: SamplePixels, tiles: int, tile_mm2: float) -> list[ScanWarning]:
    """Return a warning where the area has little tissue; it has so many `tiles` with any."""
    if not tiles:
        return [ScanWarning(code="little_tissue", detail="no tissue was found in the area")]
    matter = share(samples.matter)
    tissue_mm2 = matter * tiles * tile_mm2
    if matter >= _LEAST_TISSUE and tissue_mm2 >= _LEAST_TISSUE_MM2:
        return []
    detail = f"the area holds about {tissue_mm2:.2g} mm2 of tissue, by its sample tiles"
    return [ScanWarning(code="little_tissue", detail=detail)]


def _block_edge(samples: SamplePixels, mpp: float) -> int:
    """Return the edge of a block, in pixels of the samples."""
    edge = max(_LEAST_BLOCK, round(_BLOCK_UM / (mpp * samples.step)))
    height, width = samples.density.shape[1:]
    return max(1, min(edge, int(height), int(width)))


def _blocks(array: NDArray[np.generic], edge: int) -> NDArray[np.float32]:
    """Return (N, rows, columns, edge * edge) of (N, h, w); incomplete blocks are left out."""
    count, height, width = array.shape
    rows = height // edge
    columns = width // edge
    whole = array[:, : rows * edge, : columns * edge].astype(np.float32)
    split = whole.reshape(count, rows, edge, columns, edge).swapaxes(2, 3)
    return split.reshape(count, rows, columns, edge * edge)


def _with_neighbours(blocks: Mask) -> Mask:
    """Return the blocks (N, rows, columns) and those beside them: a line of ink ends in a block."""
    grown = blocks.copy()
    grown[:, 1:] |= blocks[:, :-1]
    grown[:, :-1] |= blocks[:, 1:]
    beside = grown.copy()
    beside[:, :, 1:] |= grown[:, :, :-1]
    beside[:, :, :-1] |= grown[:, :, 1:]
    return beside


def _most_stained(tile: Pixels, stained: Mask, step: int) -> Pixels:
    """Return the part of a tile that holds the most stained pixels."""
    if tile.shape[0] <= _BLUR_CROP_PX:
        return tile
    best = tile[:_BLUR_CROP_PX, :_BLUR_CROP_PX]
    most = -1
    for top in range(0, tile.shape[0] - _BLUR_CROP_PX + 1, _BLUR_CROP_PX):
        for left in range(0, tile.shape[1] - _BLUR_CROP_PX + 1, _BLUR_CROP_PX):
            bottom = top + _BLUR_CROP_PX
            right = left + _BLUR_CROP_PX
            part = stained[top // step : bottom // step, left // step : right // step]
            count = int(np.count_nonzero(part))
            if count > most:
                most = count
                best = tile[top:bottom, left:right]
    return best


def _blur(tile: Pixels) -> float | None:
    """Return the share of the edges' steepness that one more blur leaves; None without edges.

    Pairs of pixels are added first, which halves the noise of camera and JPEG.
    """
    # haematoxylin, eosin and DAB all absorb green
    green = tile[: tile.shape[0] // 2 * 2, : tile.shape[1] // 2 * 2, 1].astype(np.float32)
    grey = (green[::2, ::2] + green[1::2, ::2] + green[::2, 1::2] + green[1::2, 1::2]) / 4
    shares = [_left_of_edges(grey), _left_of_edges(grey.T)]
    known = [one for one in shares if one is not None]
    return max(known, default=None)


def _left_of_edges(grey: NDArray[np.floating[Any]]) -> float | None:
    """Return the share of the steepness along columns that a blur along columns leaves."""
    if len(grey) <= 2 * _BLUR_PX:
        return None
    sums = np.cumsum(grey, axis=0, dtype=np.float64)
    blurred = (sums[_BLUR_PX:] - sums[:-_BLUR_PX]) / _BLUR_PX
    first = _BLUR_PX // 2 + 1
    steep = np.abs(np.diff(grey[first : first + len(blurred)], axis=0))
    edges = steep > _EDGE
    if np.count_nonzero(edges) < _LEAST_EDGES:
        return None
    lost = np.maximum(0, steep - np.abs(np.diff(blurred, axis=0)))[edges].sum()
    return float(1 - lost / steep[edges].sum())
