"""Optical densities of the sample tiles, and where each pixel lies in the space of stains.

A pixel's density is a vector of red, green and blue. Its direction does not depend on the amount
of stain (Beer and Lambert). Directions of the stains: Ruifrok and Johnston, "Quantification of
histochemical staining by color deconvolution", Anal Quant Cytol Histol 23 (2001) 291-299.
Haematoxylin and DAB span a plane; eosin lies 39 degrees off it on one side, green on the other.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from worker.geometry.frame import Floats, Pixels

Densities = NDArray[np.float32]
Mask = NDArray[np.bool_]

HAEMATOXYLIN: Final = (0.65, 0.70, 0.29)
EOSIN: Final = (0.07, 0.99, 0.11)
DAB: Final = (0.27, 0.57, 0.78)
MATTER_OD: Final = 0.04
"""From this decadic optical density on there is something on the glass, stained or not."""
STAINED_OD: Final = 0.15
"""From this density on a pixel is stained. Pale nuclei have 0.2."""
_PIXELS_PER_SIDE: Final = 128
"""So many pixels of each tile are looked at, by column and row: enough for shares and blocks."""
# Eosin lies off the plane and, within it, on the side of haematoxylin; red ink and blood do not.
_OFF_DEG: Final = 10.0
_RED_IN_PLANE_DEG: Final = 32.0
# (60, 140, 70) lies -26 degrees off the plane, H-DAB down to -8.
_GREEN_OFF_DEG: Final = -20.0
_BROWN_IN_PLANE_DEG: Final = 28.0
_DIMMEST_GLASS: Final = 180
# The lightest pixels of an area without glass are stained; then white is assumed.
_MOST_GLASS_TINT: Final = 20


@dataclass(frozen=True, slots=True)
class SamplePixels:
    """Pixels of sample tiles, every `step`-th by column and row; all arrays are (N, h, w).

    `density` is the length of the vector of decadic optical densities. `off_plane_deg` is the
    angle between that vector and the plane of haematoxylin and DAB, above 0 towards eosin.
    `in_plane_deg` is the angle within the plane, 0 = haematoxylin, 37 = DAB. `brightest` and
    `darkest` are the largest and the least channel of each pixel.
    """

    brightest: Pixels
    darkest: Pixels
    density: Densities
    off_plane_deg: Densities
    in_plane_deg: Densities
    step: int

    @classmethod
    def of(cls, tiles: Pixels) -> Self:
        """Return the pixels of tiles (N, E, E, 3); N may be 0."""
        step = max(1, tiles.shape[1] // _PIXELS_PER_SIDE)
        pixels = np.ascontiguousarray(tiles[:, ::step, ::step])
        vectors = _optical_densities(pixels)
        axes = _axes()
        along = vectors @ axes[0]
        across = vectors @ axes[1]
        off = vectors @ axes[2]
        in_plane = np.hypot(along, across)
        red, green, blue = np.moveaxis(pixels, -1, 0)
        return cls(
            np.maximum(np.maximum(red, green), blue),
            np.minimum(np.minimum(red, green), blue),
            np.hypot(in_plane, off),
            np.degrees(np.arctan2(off, in_plane)),
            np.degrees(np.arctan2(across, along)),
            step,
        )

    @property
    def matter(self) -> Mask:
        """Where there is something on the glass."""
        return self.density >= MATTER_OD

    @property
    def eosin(self) -> Mask:
        """Where the colour is that of eosin, however little there is."""
        return (self.off_plane_deg > _OFF_DEG) & (self.in_plane_deg < _RED_IN_PLANE_DEG)

    @property
    def red(self) -> Mask:
        """Where the colour is that of red ink or blood."""
        return (self.off_plane_deg > _OFF_DEG) & (self.in_plane_deg >= _RED_IN_PLANE_DEG)

    @property
    def green(self) -> Mask:
        """Where the colour is green or turquoise."""
        return self.off_plane_deg < _GREEN_OFF_DEG

    @property
    def brown(self) -> Mask:
        """Where the colour is that of DAB."""
        return (self.off_plane_deg <= _OFF_DEG) & (self.in_plane_deg > _BROWN_IN_PLANE_DEG)

    @property
    def stained(self) -> Mask:
        """Where there is stain, ink or pigment."""
        return self.density >= STAINED_OD


def share(mask: Mask, of: Mask | None = None) -> float:
    """Return the share of pixels in `mask`, or of those in `of`; 0 where there are none."""
    if of is None:
        of = np.ones_like(mask)
    count = np.count_nonzero(of)
    if not count:
        return 0.0
    return float(np.count_nonzero(mask & of) / count)


def _optical_densities(pixels: Pixels) -> Densities:
    """Return the density of red, green and blue relative to the glass, never below 0."""
    glass = _glass(pixels)
    levels = np.arange(1, 257)[:, None] / (glass + 1)
    table = -np.log10(np.minimum(levels, 1)).astype(np.float32)
    densities = np.empty(pixels.shape, np.float32)
    for channel in range(3):
        densities[..., channel] = table[pixels[..., channel], channel]
    return densities


def _glass(pixels: Pixels) -> Floats:
    """Return the red, green and blue of bare glass."""
    white = np.full(3, 255.0)
    if not pixels.size:
        return white
    lightest = np.percentile(pixels.reshape(-1, 3), 99, axis=0)
    if np.ptp(lightest) > _MOST_GLASS_TINT:
        white[:] = lightest.max()
        lightest = white
    return np.clip(lightest, _DIMMEST_GLASS, 255)


@cache
def _axes() -> Densities:
    """Return three unit vectors: haematoxylin, at right angles to it in the plane, off the plane.

    The second points to the side of DAB, the third to that of eosin.
    """
    first = np.array(HAEMATOXYLIN) / np.linalg.norm(HAEMATOXYLIN)
    off = np.cross(first, DAB)
    off *= np.sign(off @ np.array(EOSIN)) / np.linalg.norm(off)
    second = np.cross(off, first)
    second *= np.sign(second @ np.array(DAB))
    return np.array([first, second, off], np.float32)
