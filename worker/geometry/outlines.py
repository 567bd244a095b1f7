"""Computes with many outlines at once: rings of points (K, 2) that are not closed."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import shapely

from worker.geometry.frame import Floats


def sizes_px2(outlines: Sequence[Floats]) -> Floats:
    """Return the size of each outline in square pixels, (N,)."""
    if not outlines:
        return np.empty(0)
    lengths = np.array([len(outline) for outline in outlines])
    points = np.concatenate(outlines)
    starts = lengths.cumsum() - lengths
    following = np.arange(1, len(points) + 1)
    following[starts + lengths - 1] = starts
    cross = points[:, 0] * points[following, 1] - points[following, 0] * points[:, 1]
    return np.asarray(np.abs(np.add.reduceat(cross, starts)) / 2)


def without_small_turns(outlines: Sequence[Floats], tolerance_px: float) -> tuple[Floats, ...]:
    """Return the outlines with fewer points, none of which deviates by more than the tolerance.

    That is Douglas and Peucker's algorithm; no outline crosses itself afterwards.
    """
    owner = np.repeat(np.arange(len(outlines)), [len(outline) for outline in outlines])
    rings = shapely.linearrings(np.concatenate(outlines), indices=owner)
    simple = shapely.simplify(shapely.polygons(rings), tolerance_px, preserve_topology=True)
    points, numbers = shapely.get_coordinates(simple, return_index=True)
    bounds = np.searchsorted(numbers, np.arange(len(outlines) + 1)).tolist()
    # without the last point of each, which repeats the first
    return tuple(points[start : stop - 1] for start, stop in pairwise(bounds))
