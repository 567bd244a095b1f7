"""Draws overlay.png: the objects on a small picture of the area, with a legend below.

The picture is for people to look at, not for measuring.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import compress
from time import monotonic

import cv2
import numpy as np
from numpy.typing import NDArray

from worker.geometry.frame import Area, Floats, Pixels
from worker.geometry.roi import borders
from worker.results import png
from worker.results.files.geojson import rgb
from worker.results.objects import ObjectSource, outlines
from worker.results.overlay.density import DensityMap, density_map
from worker.results.overlay.index_map import IndexMap, PictureView, index_map, positive_class
from worker.results.overlay.legend import banner, legend
from worker.results.overlay.mask import DrawnPolygon, draw_outlines, tinted
from worker.results.overlay.tile_colors import Box, painted, tile_colors
from worker.results.overlay.tile_tint import tint_squares, with_mean_tint
from worker.results.result import Result

MAX_PX = 2048
"""Longest side of the picture without its legend."""
MIN_PX = 1024
"""A smaller picture is enlarged by a whole factor, so that outlines and legend can be read."""
LEGEND_MIN_PX = 640
"""A narrower picture gets white space at its right, so that the legend has room."""
OUTLINE_FROM_PX = 5.0
"""Objects with a smaller median diameter are drawn as dots: an outline would be a blot."""
CARPET_BELOW_PX = 7.0
CARPET_OBJECTS = 1000
CARPET_SHARE = 0.2
"""At least so many dots or outlines of objects smaller than this that cover, around a typical one,
more than this share of the picture are a carpet: nobody could tell them apart."""
_CARPET_CELL_PX = 16
CROWD_PX = 31
"""Outlines crowd where they cover much of a square of this edge: there they are drawn lighter."""
SUBPIXEL_BITS = 4
"""Fractional bits of cv2's fixed-point coordinates."""
DOT_RADIUS = int(1.2 * 2**SUBPIXEL_BITS)

_Color = tuple[int, int, int]
_BLACK: _Color = (0, 0, 0)
_WHITE: _Color = (255, 255, 255)


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
    encoded = draw(picture, result)
    return encoded, monotonic() - started_at


def draw(picture: Pixels, result: Result) -> bytes:
    """Return a PNG of `picture` with the objects of the result on it.

    `picture` shows the area of the result at any scale: (H, W, 3), RGB, longest side at most
    `MAX_PX`.
    """
    canvas = _enlarged(picture)
    area = result.findings.area
    objects = result.findings.objects
    scale = _Scale.of(area, canvas)
    diameter_px = scale.median_diameter_px(objects)
    shown: IndexMap | DensityMap | None = None
    if result.card.output == "objects" and diameter_px < CARPET_BELOW_PX:
        shown = _carpet_map(canvas, scale, result, diameter_px)
    colored = tile_colors(result)
    if shown:
        canvas = shown.painted(canvas)
        _draw_hotspots(canvas, shown)
    elif colored:
        canvas = painted(canvas, _boxes(scale, colored.tiles), colored.colors)
    else:
        canvas = _with_objects(canvas, scale, result, diameter_px)
    _draw_border(canvas, scale, area)
    width_px = max(canvas.shape[1], LEGEND_MIN_PX)
    white_px = width_px - canvas.shape[1]
    if white_px:
        canvas = np.pad(canvas, ((0, 0), (0, white_px), (0, 0)), constant_values=255)
    strips = [banner(result.warnings, width_px), canvas]
    strips.append(legend(result, width_px, scale.x, shown, colored))
    whole = np.vstack(strips)
    if canvas.shape[0] > picture.shape[0]:
        # it was enlarged, and the order of so small an area takes a fraction of a second
        return png.encode(whole, png.FASTEST)
    return png.encode(whole)


def _with_objects(canvas: Pixels, scale: "_Scale", result: Result, diameter_px: float) -> Pixels:
    """Return the picture with the objects in the colours of their classes."""
    objects = result.findings.objects
    colors = [rgb(entry.color) for entry in result.card.object_classes]
    if result.card.output == "mask":
        canvas = tinted(canvas, _polygons(scale, objects), colors)
        draw_outlines(canvas, _polygons(scale, objects), colors)
        return canvas
    if result.card.output == "tiles" and result.card.overlap_px:
        return with_mean_tint(canvas, _boxes(scale, objects), objects, colors)
    if result.card.output == "tiles":
        tint_squares(canvas, _boxes(scale, objects), objects, colors)
        return canvas
    if diameter_px >= OUTLINE_FROM_PX:
        return _with_outlines(canvas, scale, objects, colors)
    if len(objects):
        canvas = _pale(canvas)
        _draw_dots(canvas, scale, objects, colors)
    return canvas


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
    large = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
    return np.asarray(large)


def _with_outlines(
    canvas: Pixels, scale: _Scale, objects: ObjectSource, colors: list[_Color]
) -> Pixels:
    """Draw outlines of one pixel on the picture, lighter where they crowd, and return it.

    The rarest class comes last, so that it stays visible.
    """
    drawn = np.zeros(canvas.shape[:2], np.uint16)  # 1 + the number of the class, or 0
    for number in _commonest_first(objects, len(colors)):
        for chunk in objects.chunks():
            found = list(compress(chunk.outlines, chunk.classes == number))
            lines = scale.lines(found)
            cv2.polylines(drawn, lines, True, number + 1, 1, cv2.LINE_8, SUBPIXEL_BITS)
    # only where there are outlines: of most pictures that is a small part
    at = np.flatnonzero(drawn != 0)
    pixels = canvas.reshape(-1, 3)
    lines_px = np.array(colors, np.uint8)[drawn.reshape(-1)[at] - 1]
    differs = (lines_px != pixels[at]).any(axis=1)
    at = at[differs]
    covered = np.zeros(canvas.shape[:2], np.uint8)
    covered.reshape(-1)[at] = 1
    share = cv2.boxFilter(covered, cv2.CV_32F, (CROWD_PX, CROWD_PX)).reshape(-1)[at]
    opacity = (1.3 - 1.5 * share).clip(0.5, 1)[:, None]
    below = pixels[at]
    pixels[at] = (below + (lines_px[differs].astype(np.float32) - below) * opacity).astype(np.uint8)
    return canvas


def _carpet_map(
    canvas: Pixels, scale: _Scale, result: Result, diameter_px: float
) -> IndexMap | DensityMap | None:
    """Return the index from place to place where objects would be a carpet, else None.

    Without a class that the index counts it is the density of the objects, if they are all of one
    class.
    """
    objects = result.findings.objects
    frame = result.findings.frame
    positive = positive_class(result.card)
    found = [entry for entry in result.card.classes if result.counts()[entry.name]]
    if positive is None and len(found) != 1:
        return None
    if frame.mpp_x is None or frame.mpp_y is None:
        return None
    if len(objects) < CARPET_OBJECTS:
        return None
    dot_px2 = np.pi * (DOT_RADIUS / 2**SUBPIXEL_BITS) ** 2
    mark_px2 = max(dot_px2, np.pi * diameter_px)
    if mark_px2 * _objects_per_px2(canvas, scale, objects) < CARPET_SHARE:
        return None
    um_per_px = (frame.mpp_x / scale.x, frame.mpp_y / scale.y)
    height_px, width_px, _ = canvas.shape
    view = PictureView(scale.origin, (scale.x, scale.y), um_per_px, (height_px, width_px))
    if positive is None:
        return density_map(objects, found[0].label, view)
    return index_map(objects, positive, view)


def _objects_per_px2(canvas: Pixels, scale: _Scale, objects: ObjectSource) -> float:
    """Return how many objects lie on a pixel of the picture, around a typical object."""
    height = canvas.shape[0] // _CARPET_CELL_PX + 1
    width = canvas.shape[1] // _CARPET_CELL_PX + 1
    counts = np.zeros((height, width))
    for chunk in objects.chunks():
        cells = (scale.points(chunk.centres) // _CARPET_CELL_PX).astype(int).clip(0)
        np.add.at(counts, (cells[:, 1].clip(0, height - 1), cells[:, 0].clip(0, width - 1)), 1)
    around_an_object = (counts**2).sum() / counts.sum()
    return float(around_an_object / _CARPET_CELL_PX**2)


def _draw_hotspots(canvas: Pixels, shown: IndexMap | DensityMap) -> None:
    """Draw a circle around each hotspot, with its number, white on black."""
    for number, hotspot in enumerate(shown.hotspots, start=1):
        x, y = hotspot.centre
        radius_x, radius_y = map(round, hotspot.radius_px)
        for color, width_px in ((_BLACK, 5), (_WHITE, 2)):
            cv2.ellipse(
                canvas, (x, y), (radius_x, radius_y), 0, 0, 360, color, width_px, cv2.LINE_AA
            )
        label = (x, y - radius_y)
        cv2.circle(canvas, label, 20, _BLACK, -1, cv2.LINE_AA)
        at = (label[0] - 10, label[1] + 10)
        cv2.putText(canvas, str(number), at, cv2.FONT_HERSHEY_SIMPLEX, 1.0, _WHITE, 2, cv2.LINE_AA)


def _polygons(scale: _Scale, objects: ObjectSource) -> Iterator[DrawnPolygon]:
    """Yield each polygon in pixels of the picture."""
    for chunk in objects.chunks():
        holes = chunk.holes or ((),) * len(chunk)
        classes = chunk.classes.tolist()
        for kind, outline, inner in zip(classes, chunk.outlines, holes, strict=True):
            yield DrawnPolygon(kind, [scale.fixed(ring) for ring in (outline, *inner)])


def _boxes(scale: _Scale, squares: ObjectSource) -> Iterator[Box]:
    """Yield the box of each square in pixels of the picture."""
    for chunk in squares.chunks():
        diagonals = np.array([outline[[0, 2]] for outline in chunk.outlines])
        corners = np.rint(scale.points(diagonals)).astype(int) + 1
        yield from map(tuple, corners.clip(0).reshape(-1, 4).tolist())


def _draw_dots(canvas: Pixels, scale: _Scale, objects: ObjectSource, colors: list[_Color]) -> None:
    """Draw a dot for each object; the rarest class comes last, so that it stays visible."""
    for number in _commonest_first(objects, len(colors)):
        color = colors[number]
        for chunk in objects.chunks():
            for x, y in scale.fixed(chunk.centres[chunk.classes == number]).tolist():
                cv2.circle(canvas, (x, y), DOT_RADIUS, color, -1, cv2.LINE_AA, SUBPIXEL_BITS)


def _commonest_first(objects: ObjectSource, classes: int) -> list[int]:
    """Return the numbers of the classes, that with the most objects first."""
    counts = np.array(objects.counts(classes))
    order: list[int] = np.argsort(-counts, kind="stable").tolist()
    return order


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
