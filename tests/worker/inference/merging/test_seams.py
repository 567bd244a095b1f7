"""From tiles to the area: each object once, where it is."""

from dataclasses import replace

import numpy as np

from worker.geometry.frame import Area
from worker.geometry.tile_grid import Grid, Tile, Tiles
from worker.inference.merging.seams import SeamMerger
from worker.results.objects import Objects, joined

GRID = Grid(
    Area(100, 200, 40, 60),
    tile_px=10,
    halo_px=4,
    downsample_x=2.0,
    downsample_y=2.0,
    tiles=Tiles(0, 0, 20, 20, 2, np.arange(0)),
)
LEFT = Tile(0, 100.0, 200.0)
RIGHT = Tile(1, 120.0, 200.0)


def found(*core_px: tuple[float, float]) -> Objects:
    """Objects with these centres, in pixels from the corner of a tile's core."""
    centres = np.array(core_px, float).reshape(-1, 2) + GRID.halo_px
    ring = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    return Objects(
        centres,
        tuple(c + ring for c in centres),
        np.zeros(len(centres), np.int64),
        np.ones(len(centres)),
    )


def merged(*tiles: tuple[Objects, Tile]) -> Objects:
    """What the tiles come to, one after another."""
    merger = SeamMerger(GRID)
    return joined([merger.add(*tile) for tile in tiles])


def test_tile_pixels_become_level_0_pixels() -> None:
    """The halo is taken off, the downsample put on, the tile's place added; outlines go along."""
    objects = merged((found((5.0, 5.0)), LEFT))
    assert objects.centres.tolist() == [[110.0, 210.0]]
    assert objects.outlines[0].tolist() == [[108, 208], [112, 208], [112, 212], [108, 212]]


def test_an_object_on_a_seam_counts_once() -> None:
    """Both tiles see it, also where they disagree by a pixel about its centre, on either side."""
    for left, right in ((9.9, -0.1), (10.1, 0.1), (9.6, 0.4), (10.4, -0.4)):
        assert len(merged((found((left, 5.0)), LEFT), (found((right, 5.0)), RIGHT))) == 1


def test_two_objects_near_a_seam_stay_two() -> None:
    """What one tile sees as two is two, however close."""
    left = found((9.0, 5.0), (10.5, 5.0))
    right = found((-1.0, 5.0), (0.5, 5.0))
    assert len(merged((left, LEFT), (right, RIGHT))) == 2


def test_an_object_on_the_seam_to_the_row_below_counts_once() -> None:
    """What lay on a seam is still known when the next row comes, and what lay above it is
    forgotten."""
    below = Tile(2, 100.0, 220.0)
    assert len(merged((found((5.0, 9.9)), LEFT), (found((5.0, -0.1)), below))) == 1
    assert len(merged((found((5.0, 10.1)), LEFT), (found((5.0, 0.1)), below))) == 1
    merger = SeamMerger(GRID)
    merger.add(found((0.5, 5.0), (5.0, 9.9)), LEFT)
    merger.add(found(), Tile(2, 100.0, 240.0))
    assert len(merger.add(found((5.0, -10.1)), Tile(3, 100.0, 240.0))) == 0


def test_what_lies_in_the_halo_alone_is_the_neighbours() -> None:
    """Far over the edge a tile says nothing."""
    assert len(merged((found((13.0, 5.0), (-3.5, 5.0)), LEFT))) == 0


def test_the_area_is_half_open() -> None:
    """On its left edge counts, on its right edge does not."""
    far = Tile(2, 130.0, 200.0)
    assert len(merged((found((0.0, 0.0)), LEFT))) == 1
    assert len(merged((found((5.0, 5.0)), far))) == 0


def test_nothing_found_is_a_result() -> None:
    """No tiles, or empty ones."""
    assert len(merged()) == 0
    assert len(merged((found(), LEFT))) == 0


def test_measurements_and_probabilities_stay_with_their_objects() -> None:
    """What a neighbour has already is dropped with its numbers, and the others keep theirs."""
    left = found((5.0, 5.0), (9.9, 5.0))
    right = found((-0.1, 5.0), (6.0, 5.0))
    measured = [
        replace(tile, measurements=values, probabilities=values / 10)
        for tile, values in ((left, np.array([[1.0], [2.0]])), (right, np.array([[3.0], [4.0]])))
    ]
    objects = merged((measured[0], LEFT), (measured[1], RIGHT))
    assert objects.measurements.tolist() == [[1.0], [2.0], [4.0]]
    assert objects.probabilities.tolist() == [[0.1], [0.2], [0.4]]
