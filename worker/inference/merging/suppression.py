"""Non-maximum suppression: of objects that compete for one place only the likeliest stays.

Objects compete where their centres are near, or where their boxes overlap. They are decided upon
in falling order of score, over the whole area at once, so tiles and their order do not matter. An
object that is dropped drops no other.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from worker.geometry.frame import Floats, Ints
from worker.results.objects import ObjectSource

Mask = NDArray[np.bool_]
_LEAST_CELL_UM: Final = 1.0
_LARGEST_IN_CELLS: Final = 16
"""The largest box is at most so many cells long, so that it lies in few."""


@dataclass(frozen=True, slots=True)
class Rules:
    """When two objects compete.

    Their centres are nearer than `radius_um`, or the intersection of their boxes is more than
    `most_iou` of the union: 0 and 1 turn that off. `um_per_px`: of a level-0 pixel, x and y.
    """

    radius_um: float
    most_iou: float
    across_classes: bool
    um_per_px: tuple[float, float]

    @property
    def is_on(self) -> bool:
        """Whether any two objects can compete."""
        return self.radius_um > 0 or self.most_iou < 1


@dataclass(frozen=True, slots=True)
class _Candidates:
    """N objects: `centres` (N, 2) and `boxes` (N, 4), left, top, right, bottom, in microns.

    `groups`: (N,), equal where two objects may compete. `order`: all numbers, in the order in
    which they are decided upon.
    """

    centres: Floats
    boxes: Floats
    groups: Ints
    order: Ints


def survivors(objects: ObjectSource, rules: Rules) -> Mask:
    """Return which of the objects stay.

    Of two that compete the one with the higher score stays; of equal scores the upper, then the
    left one, then the one of the class that comes first.
    """
    candidates = _candidates(objects, rules)
    kept = np.ones(len(candidates.groups), np.bool_)
    judges: list[_NearCentres | _OverlappingBoxes] = []
    if rules.radius_um > 0:
        judges.append(_NearCentres(candidates, rules.radius_um))
    if rules.most_iou < 1:
        judges.append(_OverlappingBoxes(candidates, rules.most_iou))
    for number in candidates.order.tolist():
        for judge in judges:
            if judge.is_beaten(number):
                kept[number] = False
                break
        else:
            for judge in judges:
                judge.keep(number)
    return kept


def _candidates(objects: ObjectSource, rules: Rules) -> _Candidates:
    """Return what decides about each object; the outlines themselves stay in the store."""
    centres = [np.empty((0, 2))]
    boxes = [np.empty((0, 4))]
    scores = [np.empty(0)]
    classes = [np.empty(0, np.int64)]
    for chunk in objects.chunks():
        centres.append(chunk.centres)
        scores.append(chunk.scores)
        classes.append(chunk.classes)
        if rules.most_iou < 1:
            boxes.append(_boxes(chunk.outlines))
    places = np.concatenate(centres)
    kinds = np.concatenate(classes)
    order = np.lexsort((kinds, places[:, 0], places[:, 1], -np.concatenate(scores)))
    groups = kinds
    if rules.across_classes:
        groups = np.zeros_like(kinds)
    um_per_px = np.array(rules.um_per_px)
    return _Candidates(
        places * um_per_px, np.concatenate(boxes) * np.tile(um_per_px, 2), groups, order
    )


def _boxes(outlines: tuple[Floats, ...]) -> Floats:
    """Return left, top, right and bottom of each outline, (N, 4)."""
    lengths = np.array([len(outline) for outline in outlines])
    starts = lengths.cumsum() - lengths
    points = np.concatenate(outlines)
    low = np.minimum.reduceat(points, starts)
    high = np.maximum.reduceat(points, starts)
    return np.hstack([low, high])


class _Cells:
    """Numbers square cells, so that those around a cell are found by adding to its number."""

    def __init__(self, points: Floats, groups: Ints, edge_um: float) -> None:
        """All points that are asked about lie between the least and greatest of `points`."""
        self._low = points.min(axis=0, initial=np.inf)
        self._edge_um = edge_um
        spans = self.places(points).max(axis=0, initial=0) + 3
        self.columns = int(spans[0])
        self._cells = int(spans[0] * spans[1])
        self._first = groups * self._cells

    def places(self, points: Floats) -> Ints:
        """Return column and row of the cell of each point, (N, 2), from 1 on."""
        return np.asarray(np.floor((points - self._low) / self._edge_um).astype(np.int64) + 1)

    def numbers(self, places: Ints) -> Ints:
        """Return the number of the cell of each object, which is that of its group alone."""
        return np.asarray(self._first + places[:, 1] * self.columns + places[:, 0])


class _NearCentres:
    """The centres of kept objects, in cells at least as large as the radius.

    A kept object can only be near where it lies in the same cell or in one beside it.
    """

    def __init__(self, candidates: _Candidates, radius_um: float) -> None:
        self._centres = candidates.centres.tolist()
        self._radius2_um2 = radius_um**2
        # a little larger, so that rounding puts no near centre two cells away
        edge_um = max(radius_um * (1 + 1e-9), _LEAST_CELL_UM)
        cells = _Cells(candidates.centres, candidates.groups, edge_um)
        self._cells = cells.numbers(cells.places(candidates.centres)).tolist()
        self._around = [row * cells.columns + column for row in (-1, 0, 1) for column in (-1, 0, 1)]
        self._kept: dict[int, list[tuple[float, float]]] = {}

    def is_beaten(self, number: int) -> bool:
        """Return whether a kept object is nearer to this one than the radius."""
        x, y = self._centres[number]
        cell = self._cells[number]
        for step in self._around:
            for other_x, other_y in self._kept.get(cell + step, ()):
                if (other_x - x) ** 2 + (other_y - y) ** 2 < self._radius2_um2:
                    return True
        return False

    def keep(self, number: int) -> None:
        """Remember an object that stays."""
        x, y = self._centres[number]
        self._kept.setdefault(self._cells[number], []).append((x, y))


class _OverlappingBoxes:
    """The boxes of kept objects, in every cell that they lie in: those that overlap share one."""

    def __init__(self, candidates: _Candidates, most_iou: float) -> None:
        boxes = candidates.boxes
        self._boxes = boxes.tolist()
        self._most_iou = most_iou
        edges = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
        edge_um = _LEAST_CELL_UM
        if len(edges):
            usual_um = float(np.median(edges))
            edge_um = max(usual_um, float(edges.max()) / _LARGEST_IN_CELLS, edge_um)
        corners = np.concatenate([boxes[:, :2], boxes[:, 2:]])
        cells = _Cells(corners, np.tile(candidates.groups, 2), edge_um)
        places = cells.places(corners)
        self._first = cells.numbers(places)[: len(boxes)].tolist()
        self._steps = (places[len(boxes) :] - places[: len(boxes)]).tolist()
        self._columns = cells.columns
        self._kept: dict[int, list[int]] = {}

    def is_beaten(self, number: int) -> bool:
        """Return whether a kept box overlaps this one by more than is allowed."""
        left, top, right, bottom = self._boxes[number]
        area = (right - left) * (bottom - top)
        for cell in self._cells(number):
            for other in self._kept.get(cell, ()):
                other_left, other_top, other_right, other_bottom = self._boxes[other]
                width = min(right, other_right) - max(left, other_left)
                height = min(bottom, other_bottom) - max(top, other_top)
                if width <= 0 or height <= 0:
                    continue
                other_area = (other_right - other_left) * (other_bottom - other_top)
                shared = width * height
                if shared > self._most_iou * (area + other_area - shared):
                    return True
        return False

    def keep(self, number: int) -> None:
        """Remember an object that stays."""
        for cell in self._cells(number):
            self._kept.setdefault(cell, []).append(number)

    def _cells(self, number: int) -> Iterator[int]:
        """Yield the numbers of the cells that the box lies in."""
        columns, rows = self._steps[number]
        first = self._first[number]
        for row in range(rows + 1):
            start = first + row * self._columns
            yield from range(start, start + columns + 1)
