"""Objects that an algorithm found, as arrays in memory, and where a result reads them from."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from worker.geometry.frame import Floats, Ints

Number = TypeVar("Number", bound=np.number[Any])

CHUNK: Final = 4096
"""Objects handled at a time, so that memory does not grow with their number."""


def _no_values() -> Floats:
    return np.empty((0, 0))


def _no_features() -> NDArray[np.float32]:
    return np.empty((0, 0), np.float32)


def _no_sides() -> NDArray[np.bool_]:
    return np.empty((0, 4), np.bool_)


@dataclass(frozen=True, slots=True)
class Objects:
    """N objects, each with a centre, an outline, a class and a score.

    `centres`: (N, 2), x and y. `outlines`: N open rings, (K, 2) each, K >= 3. `classes`: (N,), the
    number of each object's class in the algorithm's card. `scores`: (N,), 0 to 1.
    `probabilities`: (N, classes) where the algorithm gives them, else empty. `measurements`:
    (N, M), a column for each name of the card's `measurements`, else empty. `features`: (N, D), the
    vector that describes each object, else empty. `holes`: for each object the open rings inside
    its outline, (K, 2) each, or an empty tuple where no object has any. `at_rim`: (N, 4), whether
    an object in an algorithm's answer for a tile touches the left, upper, right and lower rim of
    what was answered, where it may be cut; empty where the algorithm does not tell, and everywhere
    else.

    The frame depends on the context: pixels of one tile as it was read (origin at the corner of the
    halo) in an algorithm's answer, level-0 pixels everywhere else.
    """

    centres: Floats
    outlines: tuple[Floats, ...]
    classes: Ints
    scores: Floats
    probabilities: Floats = field(default_factory=_no_values)
    measurements: Floats = field(default_factory=_no_values)
    features: NDArray[np.float32] = field(default_factory=_no_features)
    holes: tuple[tuple[Floats, ...], ...] = ()
    at_rim: NDArray[np.bool_] = field(default_factory=_no_sides)

    def __len__(self) -> int:
        return len(self.classes)

    def chunks(self) -> Iterator["Objects"]:
        """Yield the same objects in order, at most `CHUNK` at a time."""
        for start in range(0, len(self), CHUNK):
            chunk = slice(start, start + CHUNK)
            yield Objects(
                self.centres[chunk],
                self.outlines[chunk],
                self.classes[chunk],
                self.scores[chunk],
                self.probabilities[chunk],
                self.measurements[chunk],
                self.features[chunk],
                self.holes[chunk],
            )

    def feature_chunks(self) -> Iterator[NDArray[np.float32]]:
        """Yield the vectors of the same objects in order, at most `CHUNK` at a time."""
        for start in range(0, len(self.features), CHUNK):
            yield self.features[start : start + CHUNK]

    def selected(self, which: Ints | NDArray[np.bool_]) -> "Objects":
        """Return the objects of these numbers, or those for which a mask is True."""
        numbers = np.arange(len(self))[which]
        chosen = numbers.tolist()
        holes = self.holes
        if holes:
            holes = tuple(holes[number] for number in chosen)
        return Objects(
            self.centres[numbers],
            tuple(self.outlines[number] for number in chosen),
            self.classes[numbers],
            self.scores[numbers],
            _rows(self.probabilities, numbers),
            _rows(self.measurements, numbers),
            _rows(self.features, numbers),
            holes,
        )

    def counts(self, classes: int) -> list[int]:
        """Return how many objects each of the first `classes` classes has."""
        counts: list[int] = np.bincount(self.classes, minlength=classes)[:classes].tolist()
        return counts


def joined(parts: Sequence[Objects]) -> Objects:
    """Return all objects of the parts, in order."""
    outlined: list[Floats] = []
    for part in parts:
        outlined.extend(part.outlines)
    filled = [part for part in parts if len(part)]
    return Objects(
        np.concatenate([np.empty((0, 2)), *(part.centres for part in parts)]),
        tuple(outlined),
        np.concatenate([np.empty(0, np.int64), *(part.classes for part in parts)]),
        np.concatenate([np.empty(0), *(part.scores for part in parts)]),
        _joined_tables([part.probabilities for part in filled]),
        _joined_tables([part.measurements for part in filled]),
        _joined_tables([part.features for part in filled]),
        _joined_holes(filled),
    )


def _rows(table: NDArray[Number], numbers: Ints) -> NDArray[Number]:
    """Return the rows of these objects; a table without columns has no rows."""
    if not table.size:
        return table
    return table[numbers]


def _joined_tables(tables: list[NDArray[Number]]) -> NDArray[Number]:
    """Return the rows of all tables; they have the same number of columns, maybe none."""
    if not tables:
        return np.empty((0, 0))  # type: ignore[return-value]
    return np.concatenate(tables)


def _joined_holes(parts: Sequence[Objects]) -> tuple[tuple[Floats, ...], ...]:
    """Return the holes of all objects; empty where no object has any."""
    if not any(part.holes for part in parts):
        return ()
    holes: list[tuple[Floats, ...]] = []
    for part in parts:
        holes.extend(part.holes or [()] * len(part))
    return tuple(holes)


class ObjectSource(Protocol):
    """All objects of a scan in level-0 pixels, in memory or on disk."""

    def __len__(self) -> int: ...

    def chunks(self) -> Iterator[Objects]:
        """Yield the objects in order, at most `CHUNK` at a time, maybe without their `features`."""

    def feature_chunks(self) -> Iterator[NDArray[np.float32]]:
        """Yield the vectors of the objects in order, at most `CHUNK` at a time, (N, D) each.

        Yields nothing where the objects have none.
        """

    def counts(self, classes: int) -> list[int]:
        """Return how many objects each of the first `classes` classes has."""


def outlines(points: NDArray[Number], lengths: Iterable[int]) -> Iterator[NDArray[Number]]:
    """Divide the points of all outlines, one behind another, into outlines of these lengths."""
    for start, stop in pairwise(accumulate(lengths, initial=0)):
        yield points[start:stop]
