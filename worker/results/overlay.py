"""overlay.png: what was found, drawn on a small picture of the area, with a legend. For eyes, not for measuring."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import cv2
import numpy as np
from numpy.typing import NDArray

from worker.geometry.frame import Area, Floats, Pixels
from worker.geometry.roi import borders
from worker.results.geojson import rgb
from worker.results.legend import legend
from worker.results.objects import ObjectSource, outlines
from worker.results.result import Result

MAX_PX = 2048
"""Longest side of the picture without its legend."""
MIN_PX = 1024
"""A smaller picture is enlarged by a whole factor, so that outlines and legend can be read."""
LEGEND_MIN_PX = 640
"""A narrower picture gets paper at its right, so that the legend has room."""
OUTLINE_FROM_PX = 5.0
"""Objects with a median diameter below this are drawn as dots: an outline would be a blot."""
THICK_FROM_PX = 12.0
"""From this diameter on an outline can be two pixels wide without filling the object."""
TINT = 0.6
"""How much of a square's colour is its class's, where the class is certain."""
SUBPIXEL_BITS = 4
"""Of cv2's fixed-point coordinates."""
DOT_RADIUS = int(1.2 * 2**SUBPIXEL_BITS)

_Color = tuple[int, int, int]


def draw(picture: Pixels, result: Result) -> bytes:
    """A PNG of `picture` (H, W, 3; RGB; the area at any scale, longest side at most `MAX_PX`) and the objects on it."""
    canvas = _enlarged(picture)
    scale = _Scale.of(result.findings.area, canvas)
    colors = [rgb(entry.color) for entry in result.card.classes]
    found = result.findings.objects
    diameter_px = scale.median_diameter_px(found)
    if result.card.output == "tiles":
        _tint(canvas, scale, found, colors)
    elif diameter_px >= OUTLINE_FROM_PX:
        _outlines(canvas, scale, found, colors, 2 if diameter_px >= THICK_FROM_PX else 1)
    elif len(found):
        canvas = _washed(canvas)
        _dots(canvas, scale, found, colors)
    _border(canvas, scale, result.findings.area)
    width_px = max(canvas.shape[1], LEGEND_MIN_PX)
    canvas = np.pad(canvas, ((0, 0), (0, width_px - canvas.shape[1]), (0, 0)), constant_values=255)
    return _png(np.vstack([canvas, legend(result, width_px, scale.x)]))


@dataclass(frozen=True, slots=True)
class _Scale:
    """From level-0 pixels to the picture's."""

    origin: tuple[int, int]
    x: float
    y: float

    @classmethod
    def of(cls, area: Area, canvas: Pixels) -> "_Scale":
        return cls((area.x, area.y), canvas.shape[1] / area.width, canvas.shape[0] / area.height)

    def points(self, level0: Floats) -> Floats:
        """In picture pixels, where whole numbers are pixel centres, as cv2 has them."""
        return (level0 - self.origin) * (self.x, self.y) - 0.5

    def fixed(self, level0: Floats) -> NDArray[np.int32]:
        """The same in cv2's fixed point."""
        fixed: NDArray[np.int32] = np.rint(self.points(level0) * 2**SUBPIXEL_BITS).astype(np.int32)
        return fixed

    def lines(self, found: Sequence[Floats]) -> list[NDArray[np.int32]]:
        """Outlines in fixed point, all of their points at once."""
        return list(
            outlines(self.fixed(np.concatenate([np.empty((0, 2)), *found])), map(len, found))
        )

    def median_diameter_px(self, found: ObjectSource) -> float:
        """Of the boxes around the objects, in picture pixels; a few thousand of them say enough."""
        step = len(found) // 2000 + 1
        some = [outline for objects in found.chunks() for outline in objects.outlines[::step]]
        return (
            float(np.median([np.ptp(outline, axis=0).mean() for outline in some])) * self.x
            if some
            else 0.0
        )


def _enlarged(picture: Pixels) -> Pixels:
    factor = max(1, MIN_PX // max(picture.shape[:2]))
    if factor == 1:
        return picture.copy()
    large: Pixels = np.ascontiguousarray(picture.repeat(factor, axis=0).repeat(factor, axis=1))
    return large


def _outlines(
    canvas: Pixels, scale: _Scale, found: ObjectSource, colors: list[_Color], width_px: int
) -> None:
    for number, color in enumerate(colors):
        for objects in found.chunks():
            lines = scale.lines(list(compress(objects.outlines, objects.classes == number)))
            cv2.polylines(canvas, lines, True, color, width_px, cv2.LINE_AA, SUBPIXEL_BITS)


def _tint(canvas: Pixels, scale: _Scale, found: ObjectSource, colors: list[_Color]) -> None:
    """Colour squares so that the tissue shows through, the surer the stronger."""
    for objects in found.chunks():
        corners = (
            np.rint([scale.points(outline[[0, 2]]) for outline in objects.outlines]).astype(int) + 1
        )
        for ((left, top), (right, bottom)), kind, score in zip(
            corners.clip(0).tolist(), objects.classes.tolist(), objects.scores.tolist(), strict=True
        ):
            square, strength = canvas[top:bottom, left:right], TINT * score
            square[...] = (square * (1 - strength) + np.array(colors[kind]) * strength).astype(
                np.uint8
            )


def _dots(canvas: Pixels, scale: _Scale, found: ObjectSource, colors: list[_Color]) -> None:
    """The rarest class comes last, so that it is not buried."""
    counts = np.array(found.counts(len(colors)))
    for number in np.argsort(-counts, kind="stable"):
        for objects in found.chunks():
            for x, y in scale.fixed(objects.centres[objects.classes == number]).tolist():
                cv2.circle(
                    canvas, (x, y), DOT_RADIUS, colors[number], -1, cv2.LINE_AA, SUBPIXEL_BITS
                )


def _border(canvas: Pixels, scale: _Scale, area: Area) -> None:
    """The polygon that was asked for, white on black, so that it shows on any stain."""
    if area.polygon:
        rings = [scale.fixed(ring) for ring in borders(area)]
        for color, width in (((0, 0, 0), 5), ((255, 255, 255), 2)):
            cv2.polylines(canvas, rings, True, color, width, cv2.LINE_AA, SUBPIXEL_BITS)


def _washed(canvas: Pixels) -> Pixels:
    """Pale and grey, so that small dots stand out on stained tissue."""
    grey = cv2.cvtColor(canvas, cv2.COLOR_RGB2GRAY)
    return np.stack([grey // 2 + 128] * 3, axis=-1)


def _png(canvas: Pixels) -> bytes:
    """By run lengths alone and with one filter: a photograph of tissue holds no other repeats, of five filters tried on
    each line this one wins nearly always, and a region waits for its picture.
    """
    repeats = cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE
    how = (
        cv2.IMWRITE_PNG_COMPRESSION,
        1,
        *repeats,
        cv2.IMWRITE_PNG_FILTER,
        cv2.IMWRITE_PNG_FILTER_PAETH,
    )
    return cv2.imencode(".png", cv2.cvtColor(canvas, cv2.COLOR_RGB2BGR), how)[1].tobytes()
