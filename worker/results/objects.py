"""Objects that an algorithm found, as arrays in memory, and where a result reads them from."""

from collections.abc import Iterable, Iterator
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


@dataclass(frozen=True, slots=True)
class Objects:
    """N objects, each with a centre, an outline, a class and a score.

    `centres`: (N, 2), x and y. `outlines`: N open rings, (K, 2) each, K >= 3. `classes`: (N,), the
    number of each object's class in the algorithm's card. `scores`: (N,), 0 to 1.
    `probabilities`: (N, classes) where the algorithm gives them, else empty. `measurements`:
    (N, M), a column for each name of the card's `measurements`, else empty.

    The frame depends on the context: pixels of one tile as it was read (origin at the corner of the
    halo) in an algorithm's answer, level-0 pixels everywhere else.
    """

    centres: Floats
    outlines: tuple[Floats, ...]
    classes: Ints
    scores: Floats
    probabilities: Floats = field(default_factory=_no_values)
    measurements: Floats = field(default_factory=_no_values)

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
            )

    def counts(self, classes: int) -> list[int]:
        """Return how many objects each of the first `classes` classes has."""
        counts: list[int] = np.bincount(self.classes, minlength=classes).tolist()
        return counts


class ObjectSource(Protocol):
    """All objects of a scan in level-0 pixels, in memory or on disk."""

    def __len__(self) -> int: ...

    def chunks(self) -> Iterator[Objects]:
        """Yield the objects in order, at most `CHUNK` at a time."""

    def counts(self, classes: int) -> list[int]:
        """Return how many objects each of the first `classes` classes has."""


def outlines(points: NDArray[Number], lengths: Iterable[int]) -> Iterator[NDArray[Number]]:
    """Divide the points of all outlines, one behind another, into outlines of these lengths."""
    for start, stop in pairwise(accumulate(lengths, initial=0)):
        yield points[start:stop]
