"""The class of a slide, which attention is shown, and the ranks of tiles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from worker.inference.merging.slide_answer import attention_row, evenly_spaced, ranks
from worker.inference.merging.slide_summary import slide_class

ROWS = np.array([[1, 2, 3], [7, 8, 12]], np.float32)


@given(st.lists(st.sampled_from([-2.5, 0.0, 0.25, 1.0, 3.0]), min_size=1, max_size=40))
def test_ranks_are_those_of_scipy(values: list[float]) -> None:
    """Equal values share the average of their ranks."""
    found = ranks(np.array(values, np.float32))
    assert np.array_equal(found, rankdata(values) / len(values))


@given(st.integers(1, 300), st.integers(1, 300))
def test_tiles_that_are_taken_are_spread_evenly(tiles: int, most: int) -> None:
    """None twice, in order, and the gaps differ by one at most."""
    chosen = evenly_spaced(tiles, most)
    assert len(chosen) == min(tiles, most)
    gaps = np.diff([*chosen.tolist(), tiles])
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1
    assert chosen[0] == 0


def test_without_a_limit_every_tile_is_taken() -> None:
    """max_tiles is absent by default."""
    assert evenly_spaced(3, None).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("probabilities", "threshold", "number"),
    [
        ([0.3, 0.7], None, 1),
        ([0.4, 0.35, 0.25], None, 0),
        ([0.5, 0.5], None, 0),
        ([0.3, 0.7], 0.7, 1),
        ([0.3, 0.7], 0.71, None),
        ([0.5], None, 0),
        ([0.499], None, None),
        ([0.3], 0.2, 0),
    ],
)
def test_the_likeliest_class_counts_where_it_is_likely_enough(
    probabilities: list[float], threshold: float | None, number: int | None
) -> None:
    """One class needs 0.5 unless the model says otherwise; of several the likeliest is taken."""
    decision = slide_class(np.array(probabilities), threshold)
    assert decision.number == number
    assert decision.likeliest == int(np.argmax(probabilities))
    assert decision.probability == max(probabilities)


@pytest.mark.parametrize(
    ("head", "classes", "number", "expected"),
    [
        (None, 2, 0, [1, 2, 3]),
        (None, 2, 1, [7, 8, 12]),
        (None, 3, 1, [4, 5, 7.5]),
        (0, 2, 1, [1, 2, 3]),
        (1, 3, 0, [7, 8, 12]),
    ],
)
def test_the_row_of_the_class_is_shown_or_the_mean_of_all(
    head: int | None, classes: int, number: int, expected: list[float]
) -> None:
    """Unless attention_head names one."""
    row = attention_row(ROWS, head, classes, number)
    assert row.dtype == np.float32
    assert row.tolist() == expected
