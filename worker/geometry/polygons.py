"""Computes with polygons that have holes: cut at the border of an area, simplified, without holes.

Coordinates are level-0 pixels. An array of polygons holds shapely geometries, which no module
outside of worker/geometry/ looks into.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from worker.geometry.frame import Area, Floats, Ints
from worker.geometry.roi import Mask, region

Polygons = NDArray[Any]
"""(N,) shapely polygons."""

_BLOCK_PX: Final = 64
_POLYGON: Final = shapely.GeometryType.POLYGON.value


def built(points: Floats, ring_of_points: Ints, owners: Ints) -> Polygons:
    """Return one polygon for each owner, in their order.

    `points` (N, 2) are the open rings one behind another, `ring_of_points` (N,) their numbers, and
    `owners` (R,) the number of the polygon of each ring: first its outline, then its holes.
    """
    if not len(owners):
        return np.empty(0, object)
    rings = np.asarray(shapely.linearrings(points, indices=ring_of_points))
    return np.asarray(shapely.polygons(rings, indices=owners))


def clipped(polygons: Polygons, area: Area) -> tuple[Polygons, Ints]:
    """Return the parts of the polygons inside of the area, and the number of each part's polygon.

    Parts without an area are left out.
    """
    sources = np.arange(len(polygons))
    if not area.polygons:
        return polygons, sources
    border = region(area)
    is_whole = shapely.covers(border, polygons)
    cut = polygons[~is_whole]
    parts, cut_sources = shapely.get_parts(shapely.intersection(cut, border), return_index=True)
    is_polygon = (shapely.get_type_id(parts) == _POLYGON) & (shapely.area(parts) > 0)
    all_parts = np.concatenate([polygons[is_whole], parts[is_polygon]])
    all_sources = np.concatenate([sources[is_whole], sources[~is_whole][cut_sources[is_polygon]]])
    order = np.argsort(all_sources, kind="stable")
    return all_parts[order], all_sources[order]


def areas_px2(polygons: Polygons) -> Floats:
    """Return the size of each polygon without its holes."""
    return np.asarray(shapely.area(polygons), np.float64)


def simplified(polygons: Polygons, area: Area, tolerance_px: tuple[float, float]) -> Polygons:
    """Return the polygons with fewer points, by Douglas and Peucker.

    The outlines stay within the tolerance, in x and y, of what they were. None crosses itself,
    leaves the area or falls into several: such a one stays as it is.
    """
    scale = np.array(tolerance_px)
    unit = shapely.transform(polygons, lambda points: points / scale)
    simple = shapely.transform(
        shapely.simplify(unit, 1.0, preserve_topology=True), lambda points: points * scale
    )
    is_right = shapely.is_valid(simple) & ~shapely.is_empty(simple)
    is_right &= shapely.get_type_id(simple) == _POLYGON
    if area.polygons:
        is_right &= shapely.covers(region(area), simple)
    return np.where(is_right, simple, polygons)


def inner_points(polygons: Polygons) -> Floats:
    """Return a point inside each polygon, (N, 2): its centroid, or one on its middle line."""
    points = shapely.get_coordinates(shapely.centroid(polygons))
    is_outside = ~shapely.contains_xy(polygons, points)
    points[is_outside] = shapely.get_coordinates(shapely.point_on_surface(polygons[is_outside]))
    return np.asarray(points, np.float64)


def inside_rings(rings: Sequence[Floats]) -> Floats:
    """Return a point inside each open ring, (N, 2)."""
    polygons = np.empty(len(rings), object)
    for number, ring in enumerate(rings):
        polygons[number] = shapely.Polygon(ring)
    return inner_points(polygons)


def open_rings(polygons: Polygons) -> list[list[Floats]]:
    """Return the outline and the holes of each polygon, open rings of (K, 2)."""
    rings, owners = shapely.get_rings(polygons, return_index=True)
    # all points at once: a tile of a mask has hundreds of polygons
    points, ring_of_points = shapely.get_coordinates(rings, return_index=True)
    ends = np.bincount(ring_of_points, minlength=len(rings)).cumsum()
    found: list[list[Floats]] = [[] for _ in range(len(polygons))]
    start = 0
    for owner, end in zip(owners.tolist(), ends.tolist(), strict=True):
        found[owner].append(points[start : end - 1])
        start = end
    return found


def cut_through_holes(outline: Floats, holes: Sequence[Floats], step_px: float) -> list[Floats]:
    """Return open rings that cover a polygon and none of its holes.

    The polygon is cut along a vertical line through each hole. The sizes of the rings add up to
    its size. All points are multiples of `step_px`, as those of the polygon are: if they were
    rounded later, a cut close to the edge of a hole would fall onto it, and its ring touch itself.
    """
    whole: BaseGeometry = shapely.Polygon(outline, holes)
    if not whole.is_valid:
        # Points were rounded to what a file holds, so that rings may touch.
        whole = shapely.make_valid(whole, method="structure")
    pieces: list[Floats] = []
    waiting = _polygons_in(whole)
    while waiting:
        polygon = waiting.pop()
        if not len(polygon.interiors):
            pieces.append(shapely.get_coordinates(polygon.exterior)[:-1])
            continue
        # the line through the middle hole leaves half of the holes on each side
        boxes = sorted((ring.bounds[0] + ring.bounds[2]) / 2 for ring in polygon.interiors)
        x = round(boxes[len(boxes) // 2] / step_px) * step_px
        left, top, right, bottom = polygon.bounds
        halves = (shapely.box(x, top, right, bottom), shapely.box(left, top, x, bottom))
        for half in halves:
            waiting += _polygons_in(shapely.intersection(polygon, half, grid_size=step_px))
    return pieces


def touching_pixels(
    area: Area, left_top: tuple[float, float], size: tuple[float, float], shape: tuple[int, int]
) -> Mask:
    """Return which of H x W pixels, `shape`, have at least one point of the area.

    The first pixel begins at `left_top`; each is `size`, width and height in level-0 pixels.
    """
    height, width = shape
    touched = np.zeros(shape, np.bool_)
    rows, columns = np.mgrid[0:height:_BLOCK_PX, 0:width:_BLOCK_PX].reshape(2, -1)
    border = region(area)
    edge = _BLOCK_PX
    while len(rows):
        squares = _squares(rows, columns, edge, left_top, size)
        is_whole = shapely.covers(border, squares)
        if edge == 1:
            is_touched = shapely.intersects(border, squares)
            touched[rows[is_touched], columns[is_touched]] = True
            return touched
        for row, column in zip(rows[is_whole].tolist(), columns[is_whole].tolist(), strict=True):
            touched[row : row + edge, column : column + edge] = True
        is_mixed = ~is_whole & shapely.intersects(border, squares)
        edge //= 4
        steps = np.arange(4) * edge
        rows = (rows[is_mixed][:, None, None] + steps[:, None]).repeat(4, axis=2).ravel()
        columns = (columns[is_mixed][:, None, None] + steps).repeat(4, axis=1).ravel()
        is_inside = (rows < height) & (columns < width)
        rows = rows[is_inside]
        columns = columns[is_inside]
    return touched


def _squares(
    rows: Ints, columns: Ints, edge: int, left_top: tuple[float, float], size: tuple[float, float]
) -> Polygons:
    left = left_top[0] + columns * size[0]
    top = left_top[1] + rows * size[1]
    squares: Polygons = shapely.box(left, top, left + edge * size[0], top + edge * size[1])
    return squares


def _polygons_in(shape: BaseGeometry) -> list[shapely.Polygon]:
    parts = shapely.get_parts(shape)
    return [part for part in parts if isinstance(part, shapely.Polygon) and part.area > 0]


def cells_covered(
    cells: Mask, left_top: tuple[float, float], size: tuple[float, float], area: Area
) -> Polygons:
    """Return what the True ones of H x W cells cover of the area, one polygon for each part.

    The first cell begins at `left_top`; each is `size`, width and height in level-0 pixels.
    """
    edges = np.diff(np.pad(cells, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, first = np.nonzero(edges == 1)
    _, last = np.nonzero(edges == -1)
    left = left_top[0] + first * size[0]
    right = left_top[0] + last * size[0]
    top = left_top[1] + rows * size[1]
    runs = shapely.box(left, top, right, top + size[1])
    covered = shapely.intersection(shapely.union_all(runs), region(area))
    polygons = _polygons_in(covered)
    result = np.empty(len(polygons), object)
    result[:] = polygons
    return result
