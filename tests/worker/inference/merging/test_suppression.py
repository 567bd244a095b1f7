"""Which of the objects that compete for one place stays."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.geometry.frame import Floats
from worker.inference.merging.suppression import Rules, survivors
from worker.results.objects import Objects

UM_PER_PX = (0.5, 0.25)


def boxes_at(centres: Floats, sizes: Floats, scores: list[float], classes: list[int]) -> Objects:
    """Boxes in level-0 pixels."""
    half = np.asarray(sizes, float).reshape(-1, 2) / 2
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    places = np.asarray(centres, float).reshape(-1, 2)
    outlines = tuple(places[:, None] + half[:, None] * corners)
    return Objects(places, outlines, np.array(classes, np.int64), np.array(scores, float))


def points(centres: list[tuple[float, float]], scores: list[float]) -> Objects:
    count = len(centres)
    return boxes_at(np.array(centres), np.ones((count, 2)), scores, [0] * count)


def near(radius_um: float, um_per_px: tuple[float, float] = (1, 1)) -> Rules:
    return Rules(radius_um, 1, across_classes=True, um_per_px=um_per_px)


def by_brute_force(objects: Objects, rules: Rules) -> list[bool]:
    """What the definition says, comparing each with all that stay."""
    scale = np.array(rules.um_per_px)
    order = sorted(
        range(len(objects)),
        key=lambda n: (-objects.scores[n], *objects.centres[n][::-1], objects.classes[n], n),
    )
    kept: list[int] = []
    for number in order:
        if not any(competes(objects, number, other, rules, scale) for other in kept):
            kept.append(number)
    return [number in kept for number in range(len(objects))]


def competes(objects: Objects, one: int, other: int, rules: Rules, scale: Floats) -> bool:
    if not rules.across_classes and objects.classes[one] != objects.classes[other]:
        return False
    away = objects.centres[one] * scale - objects.centres[other] * scale
    if away[0] ** 2 + away[1] ** 2 < rules.radius_um**2:
        return True
    first = objects.outlines[one] * scale
    second = objects.outlines[other] * scale
    shared = np.minimum(first[2], second[2]) - np.maximum(first[0], second[0])
    if (shared <= 0).any():
        return False
    common = shared[0] * shared[1]
    sizes = [np.prod(box[2] - box[0]) for box in (first, second)]
    return bool(common > rules.most_iou * (sum(sizes) - common))


found = st.lists(
    st.tuples(
        st.integers(0, 30),
        st.integers(0, 30),
        st.integers(1, 12),
        st.integers(1, 12),
        st.integers(0, 4),
        st.integers(0, 1),
    ),
    max_size=40,
)


@given(
    found,
    st.sampled_from([0, 1, 2.5, 7]),
    st.sampled_from([0, 0.2, 0.5, 1]),
    st.booleans(),
    st.randoms(use_true_random=False),
)
@settings(max_examples=200, deadline=None)
def test_it_is_the_definition_in_whatever_order(
    rows: list[tuple[int, ...]],
    radius_um: float,
    most_iou: float,
    across_classes: bool,
    random: np.random.Generator,
) -> None:
    """As comparing each with all, and the same objects stay in another order of tiles."""
    distinct = list({(x, y, kind): row for row in rows for x, y, *_, kind in [row]}.values())
    rules = Rules(radius_um, most_iou, across_classes, UM_PER_PX)
    kept = []
    for _ in range(2):
        columns = np.array(distinct, float).reshape(-1, 6)
        objects = boxes_at(
            columns[:, :2],
            columns[:, 2:4],
            (columns[:, 4] / 4).tolist(),
            columns[:, 5].astype(int).tolist(),
        )
        stays = survivors(objects, rules)
        assert stays.tolist() == by_brute_force(objects, rules)
        kept.append({row for row, is_kept in zip(distinct, stays, strict=True) if is_kept})
        random.shuffle(distinct)
    assert kept[0] == kept[1]


def test_one_that_is_dropped_drops_nobody() -> None:
    """Of three in a row, each near the next, the outer two stay where the first is the likeliest;
    a chain of falling scores loses every second one."""
    row = points([(0, 0), (4, 0), (8, 0)], [0.9, 0.8, 0.7])
    assert survivors(row, near(5)).tolist() == [True, False, True]
    long = points([(4.0 * x, 0) for x in range(101)], np.linspace(1, 0, 101).tolist())
    assert survivors(long, near(5)).tolist() == [x % 2 == 0 for x in range(101)]


def test_equal_scores_keep_the_upper_then_the_left() -> None:
    assert survivors(points([(0, 1), (1, 0)], [0.5, 0.5]), near(5)).tolist() == [False, True]
    assert survivors(points([(1, 0), (0, 0)], [0.5, 0.5]), near(5)).tolist() == [False, True]


def test_the_radius_itself_is_no_conflict() -> None:
    """Nearer than it is; microns, also on slides whose pixels are not square."""
    pair = points([(0, 0), (5, 0)], [1, 0.5])
    assert survivors(pair, near(5)).all()
    assert not survivors(pair, near(5.0001)).all()
    upright = points([(0, 0), (0, 5)], [1, 0.5])
    assert not survivors(pair, near(2, (0.25, 1))).all()
    assert survivors(upright, near(2, (0.25, 1))).all()


def test_classes_may_be_kept_apart() -> None:
    pair = boxes_at(np.zeros((2, 2)), np.ones((2, 2)), [1, 0.5], [0, 1])
    apart = Rules(5, 0.5, across_classes=False, um_per_px=(1, 1))
    assert survivors(pair, apart).all()
    assert survivors(pair, near(5)).tolist() == [True, False]


def test_boxes_compete_by_their_overlap() -> None:
    """Two boxes of 4 x 2 that share half overlap by a third."""
    pair = boxes_at(np.array([(2, 1), (4, 1)]), np.array([(4, 2), (4, 2)]), [1, 0.5], [0, 0])
    for most_iou, both in ((0.34, True), (1 / 3, True), (0.33, False), (0, False), (1, True)):
        rules = Rules(0, most_iou, across_classes=True, um_per_px=(1, 1))
        assert survivors(pair, rules).all() == both


@pytest.mark.parametrize("most_iou", [0.3, 1])
def test_large_and_small_boxes_together_take_little_time(most_iou: float) -> None:
    """A box as large as a tile lies in few cells, and 20,000 objects are done at once."""
    random = np.random.default_rng(0)
    centres = random.uniform(0, 10_000, (20_000, 2))
    sizes = np.full((20_000, 2), 20.0)
    sizes[:50] = 2000
    objects = boxes_at(centres, sizes, random.random(20_000).tolist(), [0] * 20_000)
    rules = Rules(12, most_iou, across_classes=True, um_per_px=(1, 1))
    kept = objects.selected(survivors(objects, rules))
    by_row = kept.centres[np.argsort(kept.centres[:, 1])]
    for one, other in pairwise(by_row):
        assert np.hypot(*(one - other)) >= 12
