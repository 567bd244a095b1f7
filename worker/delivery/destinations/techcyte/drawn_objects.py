"""The objects of a result as they are drawn at Techcyte: of one class, or with fewer points."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from worker.geometry.frame import Area, Floats, Frame
from worker.geometry.polygons import built, open_rings, simplified
from worker.results.objects import Objects, ObjectSource

TOLERANCE_UM: Final = 1.0
"""A simplified outline stays so close to what it was: a tenth of a large nucleus."""
_TOLERANCE_PX: Final = 4.0
"""The same where nobody knows how large a pixel is."""


@dataclass(frozen=True, slots=True)
class OfClass:
    """Those objects of a source that are of one class."""

    source: ObjectSource
    kind: int

    def __len__(self) -> int:
        return sum(map(len, self.chunks()))

    def chunks(self) -> Iterator[Objects]:
        """Yield the objects in order."""
        for every in self.source.chunks():
            objects = every.selected(every.classes == self.kind)
            if len(objects):
                yield objects

    def feature_chunks(self) -> Iterator[NDArray[np.float32]]:
        """Yield nothing: no vector is drawn."""
        yield from ()

    def counts(self, classes: int) -> list[int]:
        """Return how many objects each of the first `classes` classes has."""
        counts = [0] * classes
        counts[self.kind] = len(self)
        return counts


@dataclass(frozen=True, slots=True)
class Simplified:
    """The objects of a source, each with an outline of fewer points."""

    source: ObjectSource
    frame: Frame

    def __len__(self) -> int:
        return len(self.source)

    def chunks(self) -> Iterator[Objects]:
        """Yield the objects in order."""
        whole = Area(0, 0, self.frame.width, self.frame.height)
        for objects in self.source.chunks():
            polygons = simplified(_polygons(objects), whole, _tolerance_px(self.frame))
            rings = open_rings(polygons)
            holes: tuple[tuple[Floats, ...], ...] = ()
            if objects.holes:
                holes = tuple(tuple(one[1:]) for one in rings)
            yield replace(objects, outlines=tuple(one[0] for one in rings), holes=holes)

    def feature_chunks(self) -> Iterator[NDArray[np.float32]]:
        """Yield nothing: no vector is drawn."""
        yield from ()

    def counts(self, classes: int) -> list[int]:
        """Return how many objects each of the first `classes` classes has."""
        return self.source.counts(classes)


def _polygons(objects: Objects) -> NDArray[np.object_]:
    """Return each object as a polygon with its holes."""
    holes = objects.holes or ((),) * len(objects)
    rings: list[Floats] = []
    for outline, inner in zip(objects.outlines, holes, strict=True):
        rings += [outline, *inner]
    lengths = [len(ring) for ring in rings]
    owners = np.repeat(np.arange(len(objects)), [1 + len(inner) for inner in holes])
    ring_of_points = np.repeat(np.arange(len(rings)), lengths)
    return built(np.concatenate(rings), ring_of_points, owners)


def _tolerance_px(frame: Frame) -> tuple[float, float]:
    if frame.mpp_x is None or frame.mpp_y is None:
        return _TOLERANCE_PX, _TOLERANCE_PX
    return TOLERANCE_UM / frame.mpp_x, TOLERANCE_UM / frame.mpp_y
