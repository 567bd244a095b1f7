"""Outlines become the closed rings that files hold: rounded, without repeated points, all turning the same way."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from worker.geometry.frame import Floats, Frame, Ints
from worker.results.objects import Objects
from worker.results.result import Findings

STEPS_PER_PX = 10
"""Files hold tenths of a level-0 pixel: finer than any outline is known, and half the bytes of exact floats."""


@dataclass(frozen=True, slots=True)
class Ring:
    """Object `number` of a scan with its outline: level-0 pixels to 0.1, inside the canvas, closed by its first point.

    `points` has shape (N, 2) and a positive shoelace area: seen on the screen it turns clockwise. `bbox` is
    [xmin, ymin, xmax, ymax]; `kind` is the number of its class.
    """

    number: int
    kind: int
    score: float
    centre: tuple[float, float]
    points: Floats
    bbox: list[float]
    area_px2: float
    probabilities: list[float]


def rings(findings: Findings) -> Iterator[Ring]:
    """The rings in the objects' order. An outline without area once rounded has none: its number is left out.

    Raises `ValueError` on NaN and infinity, which no file may hold.
    """
    first = 0
    for objects in findings.objects.chunks():
        yield from _rings(objects, findings.frame, first)
        first += len(objects)


def _rings(objects: Objects, frame: Frame, first: int) -> Iterator[Ring]:
    outlined = np.concatenate(objects.outlines)
    if not all(
        np.isfinite(part).all()
        for part in (objects.scores, objects.centres, objects.probabilities, outlined)
    ):
        raise ValueError("an object's numbers are not finite")
    steps, owner = _without_repeats(outlined, [len(outline) for outline in objects.outlines], frame)
    twice_area = _shoelace(steps, owner, len(objects))
    points, starts = _closed(steps / STEPS_PER_PX, owner, twice_area)
    numbers = np.flatnonzero(twice_area).tolist()
    areas = (np.abs(twice_area) / 2 / STEPS_PER_PX**2).tolist()
    kinds, scores, centres = (
        objects.classes.tolist(),
        objects.scores.tolist(),
        objects.centres.tolist(),
    )
    likely = objects.probabilities.tolist() or [[]] * len(objects)
    bounds = pairwise([*starts.tolist(), len(points)])
    for number, box, (start, stop) in zip(numbers, _boxes(points, starts), bounds, strict=True):
        of_one = kinds[number], scores[number], tuple(centres[number]), points[start:stop], box
        yield Ring(first + number, *of_one, areas[number], likely[number])


def _boxes(points: Floats, starts: Ints) -> list[list[float]]:
    if not len(starts):
        return []
    boxes: list[list[float]] = np.hstack(
        [extreme.reduceat(points, starts) for extreme in (np.minimum, np.maximum)]
    ).tolist()
    return boxes


def _closed(points: Floats, owner: Ints, twice_area: Floats) -> tuple[Floats, Ints]:
    """The points of all rings that have an area, turned the same way and closed, and where each ring starts."""
    lengths = np.bincount(owner, minlength=len(twice_area))
    ends = lengths.cumsum()
    has_area = twice_area != 0
    ends, lengths, turn = (
        ends[has_area],
        lengths[has_area],
        np.sign(twice_area[has_area]).astype(np.int64),
    )
    closed = lengths + 1
    starts = closed.cumsum() - closed
    step = np.arange(closed.sum()) - np.repeat(starts, closed)
    step = np.where(step == np.repeat(lengths, closed), 0, step)
    begins = np.where(turn > 0, ends - lengths, ends - 1)
    return points[np.repeat(begins, closed) + step * np.repeat(turn, closed)], starts


def _without_repeats(points: Floats, lengths: Sequence[int], frame: Frame) -> tuple[Floats, Ints]:
    """All points in steps, those that equal the one before them left out, and whose outline each belongs to."""
    owner = np.repeat(np.arange(len(lengths)), lengths)
    inside = np.clip(points, 0, (frame.width, frame.height))
    steps = np.rint(inside * STEPS_PER_PX)
    kept = (steps != steps[_before(owner)]).any(axis=1)
    return steps[kept], owner[kept]


def _shoelace(steps: Floats, owner: Ints, count: int) -> Floats:
    """Twice the signed area of each ring in square steps; exact, as whole numbers below 2**53 are."""
    (x, y), (x_before, y_before) = steps.T, steps[_before(owner)].T
    return np.asarray(
        np.bincount(owner, weights=x_before * y - x * y_before, minlength=count), np.float64
    )


def _before(owner: Ints) -> Ints:
    """For each point, where the one before it in its ring stands; before the first stands the last."""
    before = np.arange(-1, len(owner) - 1)
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    before[starts] = np.append(starts[1:], len(owner))[: len(starts)] - 1
    return before
