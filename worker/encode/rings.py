"""Outlines become the closed rings that files hold: rounded, without repeated points, all turning the same way."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from worker.values import Findings, Floats, Frame, Ints, Objects

STEPS_PER_PX = 10
"""Files hold tenths of a level-0 pixel: finer than any outline is known, and half the bytes of exact floats."""


@dataclass(frozen=True, slots=True)
class Ring:
    """Object `number` of a scan with its outline: level-0 pixels to 0.1, inside the canvas, closed by its first point.

    Its shoelace area is positive: seen on the screen it turns clockwise. `kind` is the number of its class.
    """

    number: int
    kind: int
    score: float
    centre: tuple[float, float]
    points: list[list[float]]
    area_px2: float
    probabilities: list[float]

    def bbox(self) -> list[float]:
        """The box around it: [xmin, ymin, xmax, ymax]."""
        xs, ys = zip(*self.points, strict=True)
        return [min(xs), min(ys), max(xs), max(ys)]


def rings(findings: Findings) -> Iterator[Ring]:
    """The rings in the objects' order. An outline without area once rounded has none: its number is left out."""
    first = 0
    for objects in findings.objects.chunks():
        yield from _rings(objects, findings.frame, first)
        first += len(objects)


def _rings(objects: Objects, frame: Frame, first: int) -> Iterator[Ring]:
    steps, owner = _without_repeats(objects.outlines, frame)
    twice_area = _shoelace(steps, owner, len(objects))
    points = (steps / STEPS_PER_PX).tolist()
    ends = np.bincount(owner, minlength=len(objects)).cumsum().tolist()
    kinds, scores, centres = objects.classes.tolist(), objects.scores.tolist(), objects.centres.tolist()
    likely = objects.probabilities.tolist() or [[]] * len(objects)
    for number, (start, end) in enumerate(pairwise([0, *ends])):
        if twice_area[number]:
            ring = points[start:end] if twice_area[number] > 0 else points[start:end][::-1]
            area_px2 = abs(twice_area[number]) / 2 / STEPS_PER_PX**2
            of_one = kinds[number], scores[number], tuple(centres[number])
            yield Ring(first + number, *of_one, [*ring, ring[0]], area_px2, likely[number])


def _without_repeats(outlines: Sequence[Floats], frame: Frame) -> tuple[Floats, Ints]:
    """All points in steps, those that equal the one before them left out, and whose outline each belongs to."""
    owner = np.repeat(np.arange(len(outlines)), [len(outline) for outline in outlines])
    inside = np.clip(np.concatenate(outlines), 0, (frame.width, frame.height))
    steps = np.rint(inside * STEPS_PER_PX)
    kept = (steps != steps[_before(owner)]).any(axis=1)
    return steps[kept], owner[kept]


def _shoelace(steps: Floats, owner: Ints, count: int) -> list[float]:
    """Twice the signed area of each ring in square steps; exact, as whole numbers below 2**53 are."""
    (x, y), (x_before, y_before) = steps.T, steps[_before(owner)].T
    areas: list[float] = np.bincount(owner, weights=x_before * y - x * y_before, minlength=count).tolist()
    return areas


def _before(owner: Ints) -> Ints:
    """For each point, where the one before it in its ring stands; before the first stands the last."""
    before = np.arange(-1, len(owner) - 1)
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    before[starts] = np.append(starts[1:], len(owner))[: len(starts)] - 1
    return before
