"""`grid`: boxes, and nothing but boxes."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tissue_sections import SETTINGS
from worker.algorithms import registry
from worker.algorithms.builtin.image_function import BuiltinReport
from worker.geometry.frame import Area, Frame
from worker.inference.parallel_tiles import MAX_BATCH_BYTES
from worker.results.result import Findings

FRAME = Frame(100_000, 80_000, 0.25, 0.25, "slide")


def boxes(area: Area, **parameters: int) -> Findings:
    algorithm = registry.load("grid", SETTINGS, parameters, "cpu", max_batch_bytes=MAX_BATCH_BYTES)
    assert isinstance(algorithm, BuiltinReport)
    return algorithm.report(FRAME, area)


def test_unasked_it_is_two_by_two() -> None:
    """Four boxes row by row, corners clockwise from the top left, halves of an odd width exact."""
    found = boxes(Area(100, 200, 101, 50))
    assert [outline.tolist() for outline in found.objects.outlines] == [
        [[100, 200], [150.5, 200], [150.5, 225], [100, 225]],
        [[150.5, 200], [201, 200], [201, 225], [150.5, 225]],
        [[100, 225], [150.5, 225], [150.5, 250], [100, 250]],
        [[150.5, 225], [201, 225], [201, 250], [150.5, 250]],
    ]
    assert (found.frame, found.area) == (FRAME, Area(100, 200, 101, 50))
    assert found.headline == "4 boxes (2 x 2)"
    assert found.summary == {"boxes": 4, "rows": 2, "columns": 2}


@given(
    st.integers(1, 64),
    st.integers(1, 64),
    st.integers(0, 10**5),
    st.integers(1, 2 * 10**5),
    st.integers(1, 2 * 10**5),
)
def test_boxes_cover_the_area_without_gap_or_overlap(
    rows: int, columns: int, x: int, width: int, height: int
) -> None:
    """Neighbours share their side to the last bit, the outermost sides are the area's, and every
    centre is inside."""
    objects = boxes(Area(x, 7, width, height), rows=rows, columns=columns).objects
    assert len(objects) == len(objects.outlines) == rows * columns
    grid = np.array(objects.outlines).reshape(rows, columns, 4, 2)
    assert all(
        np.array_equal(left[:, 1], right[:, 0]) for left, right in pairwise(grid.swapaxes(0, 1))
    )
    assert all(np.array_equal(upper[:, 3], lower[:, 0]) for upper, lower in pairwise(grid))
    assert grid[0, 0, 0].tolist() == [x, 7]
    assert grid[-1, -1, 2].tolist() == [x + width, 7 + height]
    assert (objects.centres > grid[..., 0, :].reshape(-1, 2)).all()
    assert (objects.classes == 0).all() and (objects.scores == 1).all()  # noqa: PT018


def test_it_reads_no_pixels() -> None:
    """Its card names no resolution, so that a slide without one can be ordered too."""
    card = registry.card("grid", SETTINGS["grid"])
    assert (card.mpp, card.output, [c.name for c in card.classes]) == (None, "report", ["box"])
    unmeasured = Frame(10, 10, None, None, "none")
    algorithm = registry.load("grid", SETTINGS, {}, "cpu", max_batch_bytes=MAX_BATCH_BYTES)
    assert isinstance(algorithm, BuiltinReport)
    assert len(algorithm.report(unmeasured, Area(0, 0, 10, 10)).objects) == 4


def test_it_works_without_asking_for_a_device() -> None:
    """A GPU that is not there does not matter to boxes."""
    assert (
        registry.load("grid", SETTINGS, {}, "cuda:7", max_batch_bytes=MAX_BATCH_BYTES).card.name
        == "grid"
    )


@pytest.mark.parametrize("rows", [1, 64])
def test_the_bounds_themselves_are_allowed(rows: int) -> None:
    """1 and 64 rows both work."""
    assert len(boxes(Area(0, 0, 5, 5), rows=rows).objects) == 2 * rows
