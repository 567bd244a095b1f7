"""Polygons of a mask are its pixels, whatever the tiles."""

import tempfile
from pathlib import Path

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from tests.support.masks import MaskCase, all_objects, mask_card, painted, polygons_of
from worker.algorithms.output_settings import MaskSettings
from worker.inference.merging.merger import Merged


def parts_of(pixels: np.ndarray) -> int:
    return sum(ndimage.label(pixels == number)[1] for number in (1, 2))


MAPS = arrays.arrays(
    np.int64,
    st.tuples(st.integers(1, 21), st.integers(1, 21)),
    elements=st.sampled_from([0, 0, 1, 1, 2]),
)


@settings(max_examples=150, deadline=None)
@given(MAPS, st.integers(1, 9), st.integers(1, 4))
def test_polygons_are_the_pixels(pixels: np.ndarray, tile_px: int, batch: int) -> None:
    """One for each 4-connected part, across tiles, with holes, and of exactly its area."""
    case = MaskCase(pixels, mask_card(tile_px=tile_px))
    with tempfile.TemporaryDirectory() as folder:
        merged = case.merged(Path(folder), batch)
        objects = all_objects(merged)
    expected = np.where(pixels == 0, 0, pixels + 1)
    assert np.array_equal(painted(objects, pixels.shape), expected)
    assert len(objects) == parts_of(pixels)
    assert sum(polygon.area for polygon in polygons_of(objects)) == (pixels > 0).sum()


@settings(max_examples=80, deadline=None)
@given(MAPS, st.integers(2, 9), st.integers(0, 4), st.data())
def test_a_merger_that_takes_over_gives_the_same_bytes(
    pixels: np.ndarray, tile_px: int, overlap_px: int, data: st.DataObject
) -> None:
    """At any tile, in batches of any size, also where tiles are skipped and holes are filled."""
    card = mask_card(tile_px=tile_px, overlap_px=min(overlap_px, tile_px - 1))
    everything = len(MaskCase(pixels, card).grid.tiles)
    skipped = data.draw(st.frozensets(st.integers(0, everything - 1), max_size=everything - 1))
    case = MaskCase(
        (np.arange(3)[:, None, None] == pixels) * np.float32(0.7) + np.float32(0.1),
        card,
        MaskSettings(fill_holes_um2=data.draw(st.sampled_from([0, 3]))),
        skipped=skipped,
    )
    tiles = len(case.grid.tiles)
    stop_at = data.draw(st.integers(1, tiles))
    with tempfile.TemporaryDirectory() as name:
        whole = case.merged(Path(name) / "whole", batch=tiles)
        again = case.merged(
            Path(name) / "again", batch=data.draw(st.integers(1, 5)), stop_at=stop_at
        )
        assert whole.summary == again.summary
        assert files_of(whole) == files_of(again)


@settings(max_examples=150, deadline=None)
@given(MAPS, st.integers(1, 9), st.integers(2, 12))
def test_holes_smaller_than_the_limit_take_the_class_around_them(
    pixels: np.ndarray, tile_px: int, limit: int
) -> None:
    """With everything that is in them; the outermost small hole decides."""
    case = MaskCase(pixels, mask_card(tile_px=tile_px), MaskSettings(fill_holes_um2=limit))
    with tempfile.TemporaryDirectory() as folder:
        objects = all_objects(case.merged(Path(folder)))
    assert np.array_equal(painted(objects, pixels.shape), filled_by_hand(pixels, limit))


def filled_by_hand(pixels: np.ndarray, limit: int) -> np.ndarray:
    """Polygons of the unfilled pixels, their small holes painted, the largest last."""
    found = np.where(pixels == 0, 0, pixels + 1)
    with tempfile.TemporaryDirectory() as folder:
        objects = all_objects(MaskCase(pixels).merged(Path(folder)))
    y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]] + 0.5
    small = []
    for polygon, number in zip(polygons_of(objects), objects.classes, strict=True):
        for ring in polygon.interiors:
            hole = shapely.Polygon(ring)
            if hole.area < limit:
                small.append((hole.area, hole, number + 1))
    for _, hole, number in sorted(small, key=lambda one: one[0]):
        found[shapely.contains_xy(hole, x, y)] = number
    return found


def files_of(merged: Merged) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in merged.objects.folder.iterdir()}
