"""Draws overlay.png: the objects on a small picture of the area, with a legend below.

The picture is for people to look at, not for measuring.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import compress
from time import monotonic

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
"""A narrower picture gets white space at its right, so that the legend has room."""
OUTLINE_FROM_PX = 5.0
"""Objects with a smaller median diameter are drawn as dots: an outline would be a blot."""
THICK_FROM_PX = 12.0
"""From this median diameter on an outline can be two pixels wide without filling the object."""
TINT = 0.6
"""The share of its class's colour in a square whose class is certain."""
SUBPIXEL_BITS = 4
"""Fractional bits of cv2's fixed-point coordinates."""
DOT_RADIUS = int(1.2 * 2**SUBPIXEL_BITS)

_Color = tuple[int, int, int]
_BLACK: _Color = (0, 0, 0)
_WHITE: _Color = (255, 255, 255)
# A photograph of tissue holds no repeats but runs, and of five filters tried on each line Paeth's
# wins nearly always. A small region waits for its picture, so the compression is the fastest.
_PNG_OPTIONS = (
    cv2.IMWRITE_PNG_COMPRESSION,
    1,
    cv2.IMWRITE_PNG_STRATEGY,
    cv2.IMWRITE_PNG_STRATEGY_RLE,
    cv2.IMWRITE_PNG_FILTER,
    cv2.IMWRITE_PNG_FILTER_PAETH,
)


class OverlayDrawing:
    """An overlay that a thread of its own draws while other files of the result are written.

    The objects of the result must stay where they are until the overlay is drawn.
    """

    def __init__(self, picture: Pixels, result: Result) -> None:
        pool = ThreadPoolExecutor(1, thread_name_prefix="overlay")
        self._drawn = pool.submit(_draw_timed, picture, result)
        pool.shutdown(wait=False)

    def png(self) -> bytes:
        """Wait for the overlay and return it. Raises whatever drawing raised."""
        return self._drawn.result()[0]

    @property
    def draw_s(self) -> float:
        """Seconds that drawing took. Waits for the overlay."""
        return self._drawn.result()[1]


def _draw_timed(picture: Pixels, result: Result) -> tuple[bytes, float]:
    started_at = monotonic()
    png = draw(picture, result)
    return png, monotonic() - started_at


def draw(picture: Pixels, result: Result) -> bytes:
    """Return a PNG of `picture` with the objects of the result on it.

    `picture` shows the area of the result at any scale: (H, W, 3), RGB, longest side at most
    `MAX_PX`.
    """
    canvas = _enlarged(picture)
    area = result.findings.area
    objects = result.findings.objects
    scale = _Scale.of(area, canvas)
    colors = [rgb(entry.color) for entry in result.card.classes]
    diameter_px = scale.median_diameter_px(objects)
    if result.card.output == "tiles":
        _tint_squares(canvas, scale, objects, colors)
    elif diameter_px >= THICK_FROM_PX:
        _draw_outlines(canvas, scale, objects, colors, 2)
    elif diameter_px >= OUTLINE_FROM_PX:
        _draw_outlines(canvas, scale, objects, colors, 1)
    elif len(objects):
        canvas = _pale(canvas)
        _draw_dots(canvas, scale, objects, colors)
    _draw_border(canvas, scale, area)
    width_px = max(canvas.shape[1], LEGEND_MIN_PX)
    white_px = width_px - canvas.shape[1]
    canvas = np.pad(canvas, ((0, 0), (0, white_px), (0, 0)), constant_values=255)
    return _png(np.vstack([canvas, legend(result, width_px, scale.x)]))


@dataclass(frozen=True, slots=True)
class _Scale:
    """Converts level-0 pixels to pixels of the picture.

    `origin` is the area's top left corner; `x` and `y` are picture pixels per level-0 pixel.
    """

    origin: tuple[int, int]
    x: float
    y: float

    @classmethod
    def of(cls, area: Area, canvas: Pixels) -> "_Scale":
        height_px, width_px, _ = canvas.shape
        return cls((area.x, area.y), width_px / area.width, height_px / area.height)

    def points(self, level0: Floats) -> Floats:
        """Return picture pixels, where whole numbers are the centres of pixels as in cv2."""
        return (level0 - self.origin) * (self.x, self.y) - 0.5

    def fixed(self, level0: Floats) -> NDArray[np.int32]:
        """Return picture pixels in cv2's fixed point."""
        fixed: NDArray[np.int32] = np.rint(self.points(level0) * 2**SUBPIXEL_BITS).astype(np.int32)
        return fixed

    def lines(self, found: Sequence[Floats]) -> list[NDArray[np.int32]]:
        """Return outlines in cv2's fixed point; all points are converted at once."""
        points = self.fixed(np.concatenate([np.empty((0, 2)), *found]))
        return list(outlines(points, map(len, found)))

    def median_diameter_px(self, objects: ObjectSource) -> float:
        """Return the median diameter of the objects' boxes, estimated from a few thousand of them.

        It is 0 where there are no objects.
        """
        step = len(objects) // 2000 + 1
        diameters: list[float] = []
        for chunk in objects.chunks():
            diameters.extend(np.ptp(outline, axis=0).mean() for outline in chunk.outlines[::step])
        if not diameters:
            return 0.0
        return float(np.median(diameters)) * self.x


def _enlarged(picture: Pixels) -> Pixels:
    """Return a copy, enlarged by a whole factor where it is small."""
    factor = max(1, MIN_PX // max(picture.shape[:2]))
    if factor == 1:
        return picture.copy()
    large: Pixels = np.ascontiguousarray(picture.repeat(factor, axis=0).repeat(factor, axis=1))
    return large


def _draw_outlines(
    canvas: Pixels, scale: _Scale, objects: ObjectSource, colors: list[_Color], width_px: int
) -> None:
    for number, color in enumerate(colors):
        for chunk in objects.chunks():
            found = list(compress(chunk.outlines, chunk.classes == number))
            lines = scale.lines(found)
            cv2.polylines(canvas, lines, True, color, width_px, cv2.LINE_AA, SUBPIXEL_BITS)


def _tint_squares(
    canvas: Pixels, scale: _Scale, objects: ObjectSource, colors: list[_Color]
) -> None:
    """Tint squares so that the tissue shows through: the higher the score, the stronger."""
    for chunk in objects.chunks():
        diagonals = [scale.points(outline[[0, 2]]) for outline in chunk.outlines]
        corners = np.rint(diagonals).astype(int) + 1
        squares = zip(
            corners.clip(0).tolist(), chunk.classes.tolist(), chunk.scores.tolist(), strict=True
        )
        for ((left, top), (right, bottom)), number, score in squares:
            square = canvas[top:bottom, left:right]
            strength = TINT * score
            tinted = square * (1 - strength) + np.array(colors[number]) * strength
            square[...] = tinted.astype(np.uint8)


def _draw_dots(canvas: Pixels, scale: _Scale, objects: ObjectSource, colors: list[_Color]) -> None:
    """Draw a dot for each object; the rarest class comes last, so that it stays visible."""
    counts = np.array(objects.counts(len(colors)))
    for number in np.argsort(-counts, kind="stable"):
        color = colors[number]
        for chunk in objects.chunks():
            for x, y in scale.fixed(chunk.centres[chunk.classes == number]).tolist():
                cv2.circle(canvas, (x, y), DOT_RADIUS, color, -1, cv2.LINE_AA, SUBPIXEL_BITS)


def _draw_border(canvas: Pixels, scale: _Scale, area: Area) -> None:
    """Draw the requested polygons, white on black, so that it shows on any stain."""
    if not area.polygons:
        return
    rings = [scale.fixed(ring) for ring in borders(area)]
    cv2.polylines(canvas, rings, True, _BLACK, 5, cv2.LINE_AA, SUBPIXEL_BITS)
    cv2.polylines(canvas, rings, True, _WHITE, 2, cv2.LINE_AA, SUBPIXEL_BITS)


def _pale(canvas: Pixels) -> Pixels:
    """Return the picture pale and grey, so that small dots stand out on stained tissue."""
    grey = cv2.cvtColor(canvas, cv2.COLOR_RGB2GRAY)
    return np.stack([grey // 2 + 128] * 3, axis=-1)


def _png(canvas: Pixels) -> bytes:
    bgr = cv2.cvtColor(canvas, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", bgr, _PNG_OPTIONS)[1].tobytes()
