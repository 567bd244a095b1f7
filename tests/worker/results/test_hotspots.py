"""The squares that hold most objects."""

import numpy as np

from worker.geometry.frame import Area, Frame
from worker.results.hotspots import hotspots

FRAME = Frame(40_000, 40_000, 0.25, 0.25, "slide")
AREA = Area(1000, 2000, 20_000, 20_000)
# an edge of 1 mm is 4,000 level-0 pixels
ONE_MM2 = 1.0


def crowd(x: float, y: float, count: int) -> np.ndarray:
    return np.random.default_rng(1).uniform((x - 500, y - 500), (x + 500, y + 500), (count, 2))


def test_the_fullest_square_comes_first_and_none_overlap() -> None:
    """Of two crowds the larger one comes first; a third square has nothing left."""
    centres = np.concatenate([crowd(5000, 6000, 40), crowd(15_000, 16_000, 70)])
    found = hotspots(centres, AREA, FRAME, ONE_MM2, 3)
    assert [square.objects for square in found] == [70, 40]
    first, second = found
    assert first.left <= 14_500
    assert first.left + first.width >= 15_500
    assert first.width == first.height == 4000
    assert second.left + second.width <= first.left or second.top + second.height <= first.top


def test_a_square_counts_what_lies_in_it() -> None:
    """The number that is stated is that of the centres inside the stated box."""
    centres = np.random.default_rng(3).uniform((1000, 2000), (21_000, 22_000), (5000, 2))
    for square in hotspots(centres, AREA, FRAME, ONE_MM2, 4):
        low = np.array([square.left, square.top])
        high = low + np.array([square.width, square.height])
        inside = ((centres >= low) & (centres < high)).all(axis=1)
        assert inside.sum() == square.objects


def test_squares_lie_in_the_area() -> None:
    """Objects in the corner: the square is not moved beyond the area's edge."""
    (square,) = hotspots(crowd(20_500, 21_500, 30), AREA, FRAME, ONE_MM2, 1)
    assert square.left + square.width <= AREA.x + AREA.width
    assert square.top + square.height <= AREA.y + AREA.height
    assert square.objects == 30


def test_there_is_none_without_objects_scale_or_room() -> None:
    """A square is one in microns, so it needs the size of a pixel, and an area at least as large."""
    no_scale = Frame(40_000, 40_000, None, None, "none")
    centres = crowd(5000, 6000, 9)
    assert hotspots(np.empty((0, 2)), AREA, FRAME, ONE_MM2, 1) == []
    assert hotspots(centres, AREA, no_scale, ONE_MM2, 1) == []
    assert hotspots(centres, Area(1000, 2000, 3999, 20_000), FRAME, ONE_MM2, 1) == []
