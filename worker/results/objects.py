"""Objects that an algorithm found, as arrays: in memory here, or wherever else they come from."""

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


@dataclass(frozen=True, slots=True)
class Objects:
    """Things found: N centres (x, y), N outlines of K >= 3 points (x, y; open rings), N class numbers, N scores 0..1.

    `probabilities`, where an algorithm gives them: (N, classes), of each class for each object.

    The frame is the caller's: pixels of one read tile (origin at the halo's corner) where an algorithm answers,
    level-0 pixels everywhere else.
    """

    centres: Floats
    outlines: tuple[Floats, ...]
    classes: Ints
    scores: Floats
    probabilities: Floats = field(default_factory=lambda: np.empty((0, 0)))

    def __len__(self) -> int:
        return len(self.classes)

    def chunks(self) -> Iterator["Objects"]:
        """The same objects in order, some at a time."""
        for start in range(0, len(self), CHUNK):
            some = slice(start, start + CHUNK)
            rest = self.classes[some], self.scores[some], self.probabilities[some]
            yield Objects(self.centres[some], self.outlines[some], *rest)

    def counts(self, classes: int) -> list[int]:
        """How many objects each of the first `classes` classes has."""
        counts: list[int] = np.bincount(self.classes, minlength=classes).tolist()
        return counts


def outlines(points: NDArray[Number], lengths: Iterable[int]) -> Iterator[NDArray[Number]]:
    """Points that lie one behind another as the outlines that they belong to."""
    for start, stop in pairwise(accumulate(lengths, initial=0)):
        yield points[start:stop]


class ObjectSource(Protocol):
    """All objects of a scan in level-0 pixels, in memory or on disk, handed out some at a time and in order."""

    def __len__(self) -> int: ...

    def chunks(self) -> Iterator[Objects]:
        """At most `CHUNK` objects at a time."""

    def counts(self, classes: int) -> list[int]:
        """How many objects each of the first `classes` classes has."""
