"""Computes how many objects lie in a square millimetre, from place to place.

Where objects of a single class are too many to be outlined, this shows where they are dense. Cells,
surroundings and fields are those of the index map.
"""

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from worker.geometry.frame import Pixels
from worker.results.objects import ObjectSource
from worker.results.overlay.index_map import (
    FIELD_UM,
    OPACITY,
    SIGMA_UM,
    Hotspot,
    PictureView,
    best_fields,
    disc,
    scale_colors,
    smoothed,
)

_FIELD_MM2: Final = math.pi * (FIELD_UM / 2000) ** 2
_STEPS: Final = (1, 1.2, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 10)
"""The colour scale ends at one of these times a power of ten."""
_NO_CLASS: Final = -1
_REACH_UM: Final = 40.0
"""Around a single object colour fades with a Gaussian of this deviation; many make it opaque."""
_DARKEST: Final = 0.4
"""The share of its colour on black pixels, so that colours can be read on dark tissue too."""

_Map = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class DensityMap:
    """Objects in a square millimetre at every pixel of a picture.

    `near` is 1 among objects, 0 far from all.

    `label` names the objects. `scale_end` is where the colour scale ends.
    """

    per_mm2: _Map
    near: _Map
    label: str
    scale_end: float
    hotspots: tuple[Hotspot, ...]

    def painted(self, picture: Pixels) -> Pixels:
        """Return the picture in grey, times the colours of the density where there are objects."""
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
        colors = scale_colors(self.per_mm2 / self.scale_end)
        colors *= _DARKEST + (1 - _DARKEST) * grey / 255
        layered: Pixels = (grey + (colors - grey) * (OPACITY * self.near[..., None])).astype(
            np.uint8
        )
        return layered

    @property
    def scale_words(self) -> tuple[str, str]:
        """What stands at the beginning and at the end of the colour scale."""
        around = f"within some {2 * SIGMA_UM:g} µm of a place"
        return "0", f"{self.scale_end:,g} {self.label} per mm², {around}"

    @property
    def hotspot_words(self) -> list[str]:
        """What the circles on the map are, word by word."""
        if not self.hotspots:
            return []
        words = f"Fields of {FIELD_UM / 1000:g} mm with the most objects:".split()
        for number, hotspot in enumerate(self.hotspots, start=1):
            per_mm2 = hotspot.objects / _FIELD_MM2
            words.append(f" {number}: {hotspot.objects:,} ({per_mm2:,.0f} per mm²) ")
        return words


def density_map(objects: ObjectSource, label: str, view: PictureView) -> DensityMap:
    """Return the density for a picture. There must be objects."""
    counts = np.zeros(view.cells, np.float32)
    for chunk in objects.chunks():
        np.add.at(counts, view.cells_of(chunk.centres), 1)
    cell_um = (view.cell_px * view.um_per_px[0], view.cell_px * view.um_per_px[1])
    cell_mm2 = cell_um[0] * cell_um[1] / 1e6
    per_mm2 = np.asarray(smoothed(counts, view, SIGMA_UM) / cell_mm2, np.float32)
    reach_x, reach_y = view.in_cells(_REACH_UM)
    near = (smoothed(counts, view, _REACH_UM) * (2 * math.pi * reach_x * reach_y)).clip(0, 1)
    highest = float(per_mm2[near > 0.5].max(initial=0))
    return DensityMap(
        view.enlarged(per_mm2),
        np.asarray(view.enlarged(near).clip(0, 1), np.float32),
        label,
        _scale_end(highest),
        _densest_fields(objects, view, counts),
    )


def _scale_end(highest: float) -> float:
    """Return the first of the ends of scales that is not exceeded."""
    decade = 10.0 ** math.floor(math.log10(max(highest, 1)))
    return next(step * decade for step in _STEPS if step * decade >= min(highest, 10 * decade))


def _densest_fields(objects: ObjectSource, view: PictureView, counts: _Map) -> tuple[Hotspot, ...]:
    """Return fields that do not overlap, the one with the most objects first."""
    radius_x, radius_y = view.in_cells(FIELD_UM / 2)
    in_field = cv2.filter2D(counts, -1, disc(radius_x, radius_y), borderType=cv2.BORDER_CONSTANT)
    found = best_fields(objects, _NO_CLASS, view, in_field, 0.5)
    return tuple(sorted(found, key=_by_objects, reverse=True))


def _by_objects(hotspot: Hotspot) -> int:
    return hotspot.objects
