"""Draws the polygons of a mask: a tint of their class within a firm outline, holes left clear."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from worker.geometry.frame import Pixels

TINT: Final = 0.3
"""The share of its class's colour in a pixel of a polygon: the tissue stays to be seen."""
LINE_PX: Final = 2
THIN_BELOW_PX: Final = 12.0
"""Polygons of a smaller diameter have an outline of one pixel: a wider one would cover them."""
SUBPIXEL_BITS: Final = 4
"""Fractional bits of cv2's fixed-point coordinates."""

_Color = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class DrawnPolygon:
    """A polygon in cv2's fixed point: its outline, then its holes, and the number of its class."""

    kind: int
    rings: list[NDArray[np.int32]]

    @property
    def line_px(self) -> int:
        """The width of its outline."""
        diameter_px = float(np.ptp(self.rings[0], axis=0).mean()) / 2**SUBPIXEL_BITS
        if diameter_px < THIN_BELOW_PX:
            return 1
        return LINE_PX


def tinted(canvas: Pixels, polygons: Iterable[DrawnPolygon], colors: Sequence[_Color]) -> Pixels:
    """Return the picture with the inside of each polygon tinted in the colour of its class."""
    kinds = np.zeros(canvas.shape[:2], np.uint16)
    for polygon in polygons:
        # outline and holes in one call: what two rings enclose stays clear
        cv2.fillPoly(kinds, polygon.rings, polygon.kind + 1, cv2.LINE_8, SUBPIXEL_BITS)
    painted = canvas.copy()
    values = np.arange(256, dtype=np.uint8)[:, None]
    for kind, color in enumerate(colors):
        mixed = values * (1 - TINT) + np.array(color) * TINT
        is_kind = kinds == kind + 1
        painted[is_kind] = cv2.LUT(canvas, mixed.astype(np.uint8)[None])[is_kind]
    return painted


def draw_outlines(
    canvas: Pixels, polygons: Iterable[DrawnPolygon], colors: Sequence[_Color]
) -> None:
    """Draw the outlines of polygons and of their holes in the colour of their class."""
    for polygon in polygons:
        cv2.polylines(
            canvas,
            polygon.rings,
            True,
            colors[polygon.kind],
            polygon.line_px,
            cv2.LINE_AA,
            SUBPIXEL_BITS,
        )
