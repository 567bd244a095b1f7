"""Turns outlines and holes into the closed rings that files hold, all with the same orientation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import numpy as np

from worker.geometry.frame import Floats, Frame, Ints
from worker.geometry.polygons import cut_through_holes, inside_rings
from worker.results.objects import Objects
from worker.results.result import Findings

STEPS_PER_PX = 10
"""Files hold tenths of a level-0 pixel, called steps below: finer than any outline is known, and
half the bytes of exact floats."""


@dataclass(frozen=True, slots=True)
class Ring:
    """The outline of object `number` of a scan, in level-0 pixels to 0.1, inside the canvas.

    `points`: (N, 2), closed: the last point is the first. Its shoelace area is positive, so on the
    screen, with y down, it turns clockwise. `bbox`: [xmin, ymin, xmax, ymax]. `kind`: the number
    of the object's class. `probabilities`: one for each class, or none. `measurements`: one for
    each name of the card's `measurements`, or none. `holes`: the closed rings inside the outline,
    of negative shoelace area; `area_px2` is the size without them.
    """

    number: int
    kind: int
    score: float
    centre: tuple[float, float]
    points: Floats
    bbox: list[float]
    area_px2: float
    probabilities: list[float]
    measurements: list[float]
    holes: tuple[Floats, ...] = ()


def rings(findings: Findings) -> Iterator[Ring]:
    """Yield the rings in the order of the objects.

    An outline that has no area once its points are rounded yields nothing: its number is left out.

    Raises ValueError on NaN and infinity, which no file may hold.
    """
    first = 0
    for objects in findings.objects.chunks():
        found = _rings(objects, findings.frame, first)
        if objects.holes:
            found = _with_holes(found, objects, findings.frame, first)
        yield from found
        first += len(objects)


def simple_rings(findings: Findings) -> Iterator[Ring]:
    """Yield the rings for formats that know no holes.

    An object with holes is cut along a vertical line through each of them: it gives several rings
    of its number, whose sizes add up to its own, each with its own centre.
    """
    for ring in rings(findings):
        if ring.holes:
            yield from _pieces(ring, findings.frame)
        else:
            yield ring


def _pieces(ring: Ring, frame: Frame) -> Iterator[Ring]:
    """Yield what is left of an object with holes when it is cut through them."""
    holes = [hole[:-1] for hole in ring.holes]
    pieces = cut_through_holes(ring.points[:-1], holes, 1 / STEPS_PER_PX)
    objects = Objects(
        inside_rings(pieces),
        tuple(pieces),
        np.full(len(pieces), ring.kind),
        np.full(len(pieces), ring.score),
    )
    for piece in _rings(objects, frame, 0):
        yield replace(
            piece,
            number=ring.number,
            probabilities=ring.probabilities,
            measurements=ring.measurements,
        )


def _with_holes(
    found: Iterator[Ring], objects: Objects, frame: Frame, first: int
) -> Iterator[Ring]:
    """Yield the rings of one chunk with their holes; holes without an area are left out."""
    all_holes = [hole for holes in objects.holes for hole in holes]
    if not np.isfinite(np.concatenate([np.empty((0, 2)), *all_holes])).all():
        raise ValueError("an object's numbers are not finite")
    closed, areas_px2 = _closed_rings(all_holes, frame)
    bounds = list(accumulate(map(len, objects.holes), initial=0))
    for ring in found:
        which = slice(bounds[ring.number - first], bounds[ring.number - first + 1])
        if which.start == which.stop:
            yield ring
            continue
        holes = tuple(np.ascontiguousarray(points[::-1]) for points in closed[which] if len(points))
        yield replace(ring, holes=holes, area_px2=ring.area_px2 - sum(areas_px2[which]))


def _closed_rings(outlines: Sequence[Floats], frame: Frame) -> tuple[list[Floats], list[float]]:
    """Return the outlines closed and clockwise, and their sizes; no points where there is none."""
    closed: list[Floats] = [np.empty((0, 2))] * len(outlines)
    if not outlines:
        return closed, []
    lengths = [len(outline) for outline in outlines]
    steps, owner = _without_repeats(np.concatenate(outlines), lengths, frame)
    twice_area = _shoelace(steps, owner, len(outlines))
    points, starts = _closed(steps / STEPS_PER_PX, owner, twice_area)
    bounds = pairwise([*starts.tolist(), len(points)])
    for number, (start, stop) in zip(np.flatnonzero(twice_area).tolist(), bounds, strict=True):
        closed[number] = points[start:stop]
    areas_px2: list[float] = (np.abs(twice_area) / 2 / STEPS_PER_PX**2).tolist()
    return closed, areas_px2


def _rings(objects: Objects, frame: Frame, first: int) -> Iterator[Ring]:
    """Yield the rings of one chunk, whose first object has the number `first`."""
    outlined = np.concatenate(objects.outlines)
    tables = (objects.probabilities, objects.measurements)
    for values in (objects.scores, objects.centres, *tables, outlined):
        if not np.isfinite(values).all():
            raise ValueError("an object's numbers are not finite")
    lengths = [len(outline) for outline in objects.outlines]
    steps, owner = _without_repeats(outlined, lengths, frame)
    twice_area = _shoelace(steps, owner, len(objects))
    points, starts = _closed(steps / STEPS_PER_PX, owner, twice_area)
    # lists: to take single values out of arrays is slow
    areas = (np.abs(twice_area) / 2 / STEPS_PER_PX**2).tolist()
    classes = objects.classes.tolist()
    scores = objects.scores.tolist()
    centres = objects.centres.tolist()
    probabilities = _values(objects.probabilities, len(objects))
    measurements = _values(objects.measurements, len(objects))
    numbers = np.flatnonzero(twice_area).tolist()
    bounds = pairwise([*starts.tolist(), len(points)])
    for number, bbox, (start, stop) in zip(numbers, _boxes(points, starts), bounds, strict=True):
        yield Ring(
            first + number,
            classes[number],
            scores[number],
            tuple(centres[number]),
            points[start:stop],
            bbox,
            areas[number],
            probabilities[number],
            measurements[number],
        )


def _values(table: Floats, count: int) -> list[list[float]]:
    """Return the values of each of `count` objects; empty lists where the table is empty."""
    if not table.size:
        return [[]] * count
    values: list[list[float]] = table.tolist()
    return values


def _boxes(points: Floats, starts: Ints) -> list[list[float]]:
    """Return [xmin, ymin, xmax, ymax] of each ring."""
    if not len(starts):
        return []
    low = np.minimum.reduceat(points, starts)
    high = np.maximum.reduceat(points, starts)
    boxes: list[list[float]] = np.hstack([low, high]).tolist()
    return boxes


def _closed(points: Floats, owner: Ints, twice_area: Floats) -> tuple[Floats, Ints]:
    """Close all rings that have an area and turn them the same way.

    Return their points, one ring behind another, and where each ring starts. A ring of negative
    area is read backwards.
    """
    has_area = twice_area != 0
    all_lengths = np.bincount(owner, minlength=len(twice_area))
    ends = all_lengths.cumsum()[has_area]
    lengths = all_lengths[has_area]
    turn = np.sign(twice_area[has_area]).astype(np.int64)
    closed_lengths = lengths + 1
    starts = closed_lengths.cumsum() - closed_lengths
    step = np.arange(closed_lengths.sum()) - np.repeat(starts, closed_lengths)
    step = np.where(step == np.repeat(lengths, closed_lengths), 0, step)
    first_points = np.where(turn > 0, ends - lengths, ends - 1)
    order = np.repeat(first_points, closed_lengths) + step * np.repeat(turn, closed_lengths)
    return points[order], starts


def _without_repeats(points: Floats, lengths: Sequence[int], frame: Frame) -> tuple[Floats, Ints]:
    """Round all points to steps and drop those that equal the point before them.

    Return the points that are left, and the number of the outline that each belongs to.
    """
    owner = np.repeat(np.arange(len(lengths)), lengths)
    on_canvas = np.clip(points, 0, (frame.width, frame.height))
    steps = np.rint(on_canvas * STEPS_PER_PX)
    is_new = (steps != steps[_previous(owner)]).any(axis=1)
    return steps[is_new], owner[is_new]


def _shoelace(steps: Floats, owner: Ints, count: int) -> Floats:
    """Return twice the signed area of each ring in square steps.

    It is exact, as whole numbers below 2**53 are.
    """
    x, y = steps.T
    previous_x, previous_y = steps[_previous(owner)].T
    cross = previous_x * y - x * previous_y
    return np.asarray(np.bincount(owner, weights=cross, minlength=count), np.float64)


def _previous(owner: Ints) -> Ints:
    """Return, for each point, the index of the point before it in its ring.

    The point before a ring's first one is its last one.
    """
    previous = np.arange(-1, len(owner) - 1)
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    ends = np.append(starts[1:], len(owner))
    previous[starts] = ends[: len(starts)] - 1
    return previous
