"""Draws a synthetic tissue section from the H-DAB photograph that comes with scikit-image.

The photograph is continued by mirroring, turned by another angle in every lobe of the section,
stained a little differently from place to place, and given a ragged outline.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

TISSUE_SHARE = 0.22
"""The share of the slide that is tissue."""
CELL_PX = 16
"""Outlines, lobes and stain strengths are drawn on a grid of such cells and interpolated."""
PIECES = ((0.36, 0.50, 0.21, 0.36), (0.78, 0.42, 0.10, 0.22))
"""Pieces of tissue: centre x, y and radius x, y as shares of the slide."""
ROUGHNESS = ((4.0, 0.55), (11.0, 0.28), (45.0, 0.12), (240.0, 0.035))
"""The outline's roughness: number of waves across the slide, and their height."""
EDGE_STEEPNESS = 60.0
LOBE_ANGLES_DEG = (14.0, 57.0, 121.0, 163.0)
"""At most four, because cv2.remap interpolates at most four channels."""
LOBE_PX = 900
LOBE_STEEPNESS = 30.0
"""How abruptly one lobe ends where the next begins."""

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]


class Section:
    """A section on a slide of `width_px` x `height_px`, drawn tile by tile."""

    def __init__(
        self, width_px: int, height_px: int, tile_px: int, rng: np.random.Generator
    ) -> None:
        margin = tile_px // CELL_PX + 2
        shape = (height_px // CELL_PX + margin, width_px // CELL_PX + margin)
        self._tile_px = tile_px
        self._stains = _photograph()
        self._ground = _ground(shape, rng)
        self._lobes = _lobes(shape, rng)

    def tile(self, x: int, y: int, glass: Pixels) -> Pixels | None:
        """Return the tile with its corner at (x, y) in level-0 pixels, or None for bare glass."""
        count = self._tile_px // CELL_PX + 1
        row = y // CELL_PX
        column = x // CELL_PX
        cells = np.s_[row : row + count, column : column + count]
        if self._ground[cells][..., 0].max() < 0:
            return None
        height, haematoxylin, dab = cv2.split(self._interpolated(self._ground[cells]))
        cover = np.clip(height * EDGE_STEEPNESS, 0, 1)
        # The middle channel, a residue of DAB, is scaled as DAB is. Pale DAB would turn green else.
        strength = np.stack([haematoxylin, dab, dab], axis=-1) * cover[..., None]
        stain = self._stain(self._interpolated(self._lobes[cells]), x, y)
        return _transmitted(stain * strength, glass)

    def _interpolated(self, cells: Floats) -> Floats:
        steps = np.arange(self._tile_px, dtype=np.float32) / CELL_PX
        x, y = np.meshgrid(steps, steps)
        return np.asarray(cv2.remap(cells, x, y, cv2.INTER_LINEAR), np.float32)

    def _stain(self, shares: Floats, x: int, y: int) -> Floats:
        """Return stain concentrations: the photograph, turned by the angle of each lobe.

        Where lobes meet, they are blended.
        """
        rows, columns = np.mgrid[y : y + self._tile_px, x : x + self._tile_px].astype(np.float32)
        mixed = np.zeros((self._tile_px, self._tile_px, 3), np.float32)
        for share, angle in zip(cv2.split(shares), np.deg2rad(LOBE_ANGLES_DEG), strict=True):
            if share.max() <= 0.01:
                continue
            u = columns * np.cos(angle) - rows * np.sin(angle)
            v = columns * np.sin(angle) + rows * np.cos(angle)
            u = _shifted_to_first_period(u, self._stains.shape[1] // 2)
            v = _shifted_to_first_period(v, self._stains.shape[0] // 2)
            mixed += share[..., None] * cv2.remap(self._stains, u, v, cv2.INTER_CUBIC)
        return mixed


def _photograph() -> Floats:
    """Return stain concentrations (h, w, 3) of the photograph, continued by mirroring.

    There are two periods on each side, so that a turned tile always lies inside.
    """
    import skimage
    from skimage.color import hed_from_rgb

    file = Path(skimage.__file__).parent / "data" / "ihc.png"
    pixels = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_COLOR_RGB)
    density = -np.log((np.asarray(pixels, np.float32) + 1) / 256)
    stains = np.asarray(density @ hed_from_rgb, np.float32)
    height, width, _ = stains.shape
    return np.pad(stains, ((0, 3 * height), (0, 3 * width), (0, 0)), mode="symmetric")


def _waves(shape: tuple[int, int], count: float, rng: np.random.Generator) -> Floats:
    """Return smooth noise (h, w) with about `count` waves across the longer side."""
    cells = [max(2, round(count * side / max(shape))) + 1 for side in shape]
    noise = rng.standard_normal(cells).astype(np.float32)
    return np.asarray(cv2.resize(noise, shape[::-1], interpolation=cv2.INTER_CUBIC), np.float32)


def _ground(shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    """Return for every cell (h, w, 3): height of the tissue, strength of haematoxylin and of DAB.

    Where the height is below 0, there is glass.
    """
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    pieces = [
        1 - ((x / shape[1] - cx) / rx) ** 2 - ((y / shape[0] - cy) / ry) ** 2
        for cx, cy, rx, ry in PIECES
    ]
    roughness = sum(share * _waves(shape, count, rng) for count, share in ROUGHNESS)
    height = np.maximum.reduce(pieces) + roughness
    height -= np.quantile(height, 1 - TISSUE_SHARE)
    haematoxylin = 1 + 0.10 * _waves(shape, 9, rng)
    dab = np.clip(0.75 + 0.45 * _waves(shape, 9, rng), 0.1, 1.2)
    return np.stack([height, haematoxylin, dab], axis=-1).astype(np.float32)


def _lobes(shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    """Return for every cell (h, w, 4) the share of each lobe."""
    count = max(shape) * CELL_PX / LOBE_PX
    heights = np.stack([_waves(shape, count, rng) for _ in LOBE_ANGLES_DEG], axis=-1)
    lobes = np.exp(LOBE_STEEPNESS * (heights - heights.max(axis=-1, keepdims=True)))
    return np.asarray(lobes / lobes.sum(axis=-1, keepdims=True), np.float32)


def _shifted_to_first_period(position: NDArray[Any], period_px: int) -> Floats:
    """Return the positions shifted by whole periods, so that the smallest lies in the first."""
    return np.asarray(position - period_px * np.floor(position.min() / period_px), np.float32)


def _transmitted(stain: Floats, glass: Pixels) -> Pixels:
    """Return the light that passes through stain and glass, by the law of Beer and Lambert."""
    from skimage.color import rgb_from_hed

    share = cv2.exp(-cv2.transform(stain, rgb_from_hed.T.astype(np.float32)))
    return np.asarray(np.clip(share * glass, 0, 255), np.uint8)
