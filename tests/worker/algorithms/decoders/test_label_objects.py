"""Objects of label maps: parts, outlines along pixel edges, classes, scores, refusals."""

from typing import Any

import numpy as np
import pytest
import shapely
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from torch import Tensor

from tests.support.decoded_networks import a_card
from worker.algorithms.answer_error import AlgorithmAnswerError
from worker.algorithms.decoders import answers
from worker.algorithms.decoders.label_parts import Parts
from worker.algorithms.decoders.objects import ObjectsDecoder
from worker.algorithms.output_settings import ObjectsSettings
from worker.geometry.frame import Floats
from worker.results.objects import Objects

CARD = a_card("nucleus", "cell", tile_px=4, halo_px=2)


def decoded(
    roles: dict[str, Any], tiles: int = 1, activation: Any = "auto", **changed: Any
) -> list[Objects]:
    """What is made of the answers for tiles of 8 px."""
    decoder = ObjectsDecoder(
        CARD, ObjectsSettings(style="labels", **changed), activation, "float32"
    )
    return decoder.decode(roles, tiles)


def a_map(*rows: str, edge: int = 8) -> Tensor:
    """A label map of digits, (1, edge, edge); `.` and what is missing are 0."""
    labels = torch.zeros(1, edge, edge)
    for row, text in enumerate(rows):
        for column, digit in enumerate(text):
            labels[0, row, column] = 0 if digit == "." else int(digit)
    return labels


def area(ring: Floats) -> float:
    return float(shapely.Polygon(ring).area)


@given(
    arrays(np.int64, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 2))
)
@settings(max_examples=150, deadline=None)
def test_outlines_are_simple_rings_around_the_filled_parts(labels: Any) -> None:
    """Each 4-connected part of a label is one part; its outline holds its pixels and what it
    encloses, turns clockwise on the screen, and touches itself nowhere."""
    parts = Parts.of(labels)
    expected = sum(ndimage.label(labels == label)[1] for label in (1, 2))
    assert len(parts) - 1 == expected
    every = np.arange(1, len(parts))
    for number, ring in zip(every, parts.outlines(every), strict=True):
        around, _ = ndimage.label(np.pad(parts.numbers != number, 1, constant_values=True))
        filled = around[1:-1, 1:-1] != around[0, 0]
        polygon = shapely.Polygon(ring)
        assert polygon.is_valid
        assert polygon.exterior.is_ccw  # in a system whose y points up: clockwise on the screen
        assert polygon.area == filled.sum()
        rows, columns = np.nonzero(filled)
        assert shapely.contains_xy(polygon, columns + 0.5, rows + 0.5).all()


def test_a_number_is_one_object_with_the_centroid_of_its_pixels() -> None:
    """Numbers mean nothing: 7 comes before 3, since it lies above it."""
    (found,) = decoded({"labels": a_map("........", ".77.....", ".7..33..", "....33..")})
    assert found.centres.tolist() == [[(1.5 + 2.5 + 1.5) / 3, (1.5 + 1.5 + 2.5) / 3], [5.0, 3.0]]
    assert found.outlines[1].tolist() == [[4, 2], [6, 2], [6, 4], [4, 4]]
    assert [area(ring) for ring in found.outlines] == [3, 4]
    assert found.scores.tolist() == [1, 1]
    assert found.classes.tolist() == [0, 0]


def test_of_a_number_in_several_parts_the_largest_counts() -> None:
    """Of equally large ones the upper, then the left; parts at a corner alone are two."""
    (largest,) = decoded({"labels": a_map("11......", "..111...")})
    assert largest.outlines[0].tolist() == [[2, 1], [5, 1], [5, 2], [2, 2]]
    (upper,) = decoded({"labels": a_map("....11..", "22..2...", "11......", "22.22...")})
    assert upper.outlines[0].tolist() == [[4, 0], [6, 0], [6, 1], [4, 1]]
    assert upper.outlines[1].tolist() == [[0, 1], [2, 1], [2, 2], [0, 2]]


def test_holes_are_filled() -> None:
    """The ring is one object without a hole, and another object may lie inside it."""
    (found,) = decoded({"labels": a_map("11111", "1...1", "1.2.1", "1...1", "11111")})
    assert [area(ring) for ring in found.outlines] == [25, 1]
    assert found.holes == ()
    assert found.centres.tolist() == [[2.5, 2.5], [2.5, 2.5]]


@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_any_integer_type_is_taken(kind: torch.dtype) -> None:
    """As is the float32 that InstanSeg answers; numbers need not follow one another."""
    labels = a_map("9", "..5") * 20
    expected = decoded({"labels": labels})[0]
    found = decoded({"labels": labels.to(kind)})[0]
    assert found.centres.tolist() == expected.centres.tolist() == [[0.5, 0.5], [2.5, 1.5]]


def test_each_layer_has_its_class() -> None:
    """As InstanSeg answers nuclei and cells: (N, 2, h, w)."""
    nuclei = a_map("", ".1..2", "")
    cells = a_map("111.22", "111.22", "111")
    both = torch.stack([nuclei, cells], dim=1)
    (found,) = decoded({"labels": both}, layers=("nucleus", "cell"))
    assert found.classes.tolist() == [0, 0, 1, 1]
    assert [area(ring) for ring in found.outlines] == [1, 1, 9, 4]
    (swapped,) = decoded({"labels": both}, layers=("cell", "nucleus"))
    assert swapped.classes.tolist() == [1, 1, 0, 0]


def test_the_class_is_that_of_most_pixels() -> None:
    """Of equally many the smaller number; what is outside of objects does not count."""
    classes = torch.full((1, 8, 8), 99)
    classes[0, 0, :4] = torch.tensor([1, 1, 0, 1])
    classes[0, 2, :2] = torch.tensor([1, 0])
    (found,) = decoded({"labels": a_map("1111", "", "22"), "classes": classes})
    assert found.classes.tolist() == [1, 0]
    assert not found.probabilities.size


def test_scores_of_classes_give_probabilities() -> None:
    """The mean inside, activated pixel by pixel; the score is that of the likeliest class."""
    shares = torch.zeros(1, 2, 8, 8)
    shares[0, 0, 0, :2] = torch.tensor([0.25, 0.5])
    shares[0, 1, 0, :2] = torch.tensor([0.75, 0.5])
    (found,) = decoded({"labels": a_map("11"), "classes": shares}, activation="none")
    assert found.probabilities.tolist() == [[0.375, 0.625]]
    assert found.classes.tolist() == [1]
    assert found.scores.tolist() == [0.625]
    (softmax,) = decoded({"labels": a_map("11"), "classes": shares}, activation="auto")
    expected = torch.softmax(shares, 1)[0, :, 0, :2].mean(1)
    assert softmax.probabilities[0] == pytest.approx(expected.numpy(), abs=1e-6)


def test_scores_are_the_mean_inside() -> None:
    """Of the pixels of an object, whatever lies around it."""
    scores = torch.zeros(1, 8, 8)
    scores[0, 0, :2] = torch.tensor([0.25, 0.75])
    (found,) = decoded({"labels": a_map("11", "", "2"), "scores": scores})
    assert found.scores.tolist() == [0.5, 0]


def test_crop_and_stride_move_and_scale() -> None:
    """A map of 3 x 3 for 8 px at a stride of 2 stands for the 6 px in the middle."""
    (found,) = decoded({"labels": a_map("", ".1", edge=3)}, output_stride=2)
    assert found.centres.tolist() == [[4, 4]]
    assert found.outlines[0].tolist() == [[3, 3], [5, 3], [5, 5], [3, 5]]


def test_the_sides_that_an_object_touches_are_told() -> None:
    """Left, upper, right and lower; a corner of the map is two of them."""
    labels = a_map("1.......", "........", "..3....2", "........", "", "", "", "...4....")
    (found,) = decoded({"labels": labels})
    touched = [tuple(np.flatnonzero(sides).tolist()) for sides in found.at_rim]
    assert touched == [(0, 1), (), (2,), (3,)]


def test_tiles_do_not_mix() -> None:
    """Number 1 of one tile is not number 1 of the other, and an empty tile has no objects."""
    labels = torch.stack([a_map("1")[0], a_map()[0], a_map("", ".11")[0]])
    first, empty, last = decoded({"labels": labels}, tiles=3)
    assert first.centres.tolist() == [[0.5, 0.5]]
    assert len(empty) == 0
    assert last.centres.tolist() == [[2, 1.5]]


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ({}, "outputs.labels: the network answers nothing"),
        ({"labels": [1]}, "is a list"),
        ({"labels": a_map().bool()}, "torch.bool"),
        ({"labels": a_map().half()}, "torch.float16"),
        ({"labels": a_map("1") / 2}, "not whole"),
        ({"labels": a_map() * float("nan")}, "not whole"),
        ({"labels": torch.zeros(2, 8, 8)}, r"shape \(2, 8, 8\) for a batch of 1"),
        ({"labels": torch.zeros(1, 8)}, r"shape \(1, 8\)"),
        ({"labels": torch.zeros(1, 7, 7)}, r"shape \(1, 7, 7\)"),
        ({"labels": torch.zeros(1, 2, 8, 8)}, "2 layers; name the class"),
        ({"labels": a_map("1"), "classes": a_map("2").long()}, "class number 2; classes says 2"),
        ({"labels": a_map("1"), "classes": -a_map("2").long()}, "class number -2"),
        ({"labels": a_map("1"), "classes": torch.zeros(1, 3, 8, 8)}, r"shape \(1, 3, 8, 8\)"),
        ({"labels": a_map("1"), "scores": a_map("2")}, "0 to 2 are no probabilities"),
        ({"labels": a_map("1"), "scores": torch.zeros(1, 4, 4)}, r"shape \(1, 4, 4\)"),
    ],
)
def test_wrong_answers_are_refused_with_their_role_and_shape(
    roles: dict[str, Any], message: str
) -> None:
    """Whoever made the network sees what is wrong with it."""
    with pytest.raises(AlgorithmAnswerError, match=message):
        decoded(roles)


def test_more_objects_than_anybody_could_use_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise in place of labels must not fill the memory."""
    monkeypatch.setattr(answers, "MAX_OBJECTS", 20)
    with pytest.raises(AlgorithmAnswerError, match="32 objects of one tile; at most 20"):
        decoded(
            {"labels": torch.arange(64).reshape(1, 8, 8) % 2 * torch.arange(64).reshape(1, 8, 8)}
        )


def test_layers_that_are_no_classes_are_refused() -> None:
    """By name."""
    with pytest.raises(ValueError, match="layers: membrane"):
        decoded({"labels": a_map()}, layers=("membrane",))


@pytest.mark.parametrize("style", ["hover", "rays"])
def test_styles_that_need_code_say_where_it_goes(style: str) -> None:
    """To an algorithm of the kind `python`."""
    with pytest.raises(ValueError, match=f'{style} needs .* kind "python"'):
        ObjectsSettings.model_validate({"style": style})
