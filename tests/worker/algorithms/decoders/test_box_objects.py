"""Objects of boxes: both forms, formats and units, padding, classes, refusals."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.decoded_networks import a_card
from worker.algorithms.answer_error import AlgorithmAnswerError
from worker.algorithms.decoders.objects import ObjectsDecoder
from worker.algorithms.output_settings import ObjectsSettings
from worker.results.objects import Objects

CARD = a_card("cell", "mitosis", tile_px=32, halo_px=4)


def decoded(
    roles: dict[str, Any], tiles: int = 1, activation: Any = "auto", **changed: Any
) -> list[Objects]:
    """What is made of the answers for tiles of 40 px."""
    decoder = ObjectsDecoder(CARD, ObjectsSettings(style="boxes", **changed), activation, "float32")
    return decoder.decode(roles, tiles)


def tensor(*rows: Any) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32)


BOXES = tensor((10, 12, 20, 18), (4, 4, 8, 8), (0, 0, 0, 0))
SCORES = tensor(0.75, 0.5, 0.0)


def test_the_outline_is_the_box_and_the_centre_its_middle() -> None:
    """Rows below the threshold are padding, whatever their boxes hold."""
    padded = BOXES.clone()
    padded[2] = float("nan")
    (found,) = decoded({"boxes": padded[None], "scores": SCORES[None]})
    assert found.centres.tolist() == [[15, 15], [6, 6]]
    assert found.outlines[0].tolist() == [[10, 12], [20, 12], [20, 18], [10, 18]]
    assert found.scores.tolist() == [0.75, 0.5]
    assert found.classes.tolist() == [0, 0]


def test_lists_of_one_tensor_for_each_tile_are_taken() -> None:
    """As torchvision answers: every tile has its own number of boxes, maybe none."""
    labels = [torch.tensor([2, 1, 0]), torch.zeros(0, dtype=torch.int64), torch.tensor([1])]
    boxes = [BOXES, torch.zeros(0, 4), BOXES[:1]]
    scores = [tensor(0.75, 0.5, 0.9), torch.zeros(0), tensor(1.0)]
    roles = {"boxes": boxes, "scores": scores, "labels": labels}
    first, empty, last = decoded(roles, tiles=3, label_offset=1)
    assert first.classes.tolist() == [1, 0]  # 0 is torchvision's background
    assert len(empty) == 0
    assert last.classes.tolist() == [0]


def test_scores_of_classes_give_class_and_probabilities() -> None:
    """(N, M, K): the class is the likeliest one."""
    scores = tensor((0.25, 0.75), (0.5, 0.125), (0.0, 0.0))[None]
    (found,) = decoded({"boxes": BOXES[None], "scores": scores})
    assert found.classes.tolist() == [1, 0]
    assert found.scores.tolist() == [0.75, 0.5]
    assert found.probabilities.tolist() == [[0.25, 0.75], [0.5, 0.125]]
    (softmax,) = decoded({"boxes": BOXES[None], "scores": scores * 8}, activation="softmax")
    assert softmax.probabilities[0, 1] == pytest.approx(1 / (1 + math.exp(-4)), abs=1e-6)


def test_formats_and_units() -> None:
    """Centre and size, and shares of the input's edge of 40 px."""
    (centred,) = decoded(
        {"boxes": tensor((15, 15, 10, 6))[None], "scores": tensor(1.0)[None]}, box_format="cxcywh"
    )
    assert centred.outlines[0].tolist() == [[10, 12], [20, 12], [20, 18], [10, 18]]
    (shares,) = decoded(
        {"boxes": tensor((0.25, 0.5, 0.5, 0.75))[None], "scores": tensor(1.0)[None]},
        box_units="unit",
    )
    assert shares.outlines[0].tolist() == [[10, 20], [20, 20], [20, 30], [10, 30]]


def test_a_box_is_cut_at_the_edge_of_the_tile_and_dropped_without_an_area() -> None:
    """What a network says of places that it did not see does not count."""
    boxes = tensor((-5, 30, 1e30, 50), (50, 50, 60, 60), (3, 3, 3, 9))
    (found,) = decoded({"boxes": boxes[None], "scores": tensor(1.0, 1.0, 1.0)[None]})
    assert found.outlines[0].tolist() == [[0, 30], [40, 30], [40, 40], [0, 40]]
    assert len(found) == 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"boxes": None}, "outputs.boxes is a NoneType"),
        ({"scores": SCORES[None] * 4}, "outputs.scores: numbers from 0 to 3 are no prob"),
        ({"scores": SCORES[None] / 0}, "NaN or infinity"),
        ({"scores": torch.ones(1, 3, 3)}, "classes says 2 classes"),
        ({"scores": torch.ones(1, 4)}, "scores has 4 rows"),
        ({"boxes": BOXES[None] / 0}, "NaN or infinity"),
        ({"boxes": BOXES[None].long()}, "no tensor of floating-point"),
        ({"boxes": BOXES[None].flip(2)}, "right or lower edge comes before"),
        ({"boxes": [BOXES, BOXES]}, "list of 2 for a batch of 1"),
        ({"labels": torch.tensor([[2, 0, 0]])}, "class number 2; classes says 2"),
        ({"labels": torch.tensor([[-1, 0, 0]])}, "class number"),
        ({"labels": torch.zeros(1, 2).long()}, r"shape \(2,\) for a tile; scores has 3 rows"),
        ({"labels": torch.full((1, 3), 0.5)}, "not whole"),
    ],
)
def test_wrong_answers_are_refused(changed: dict[str, Any], message: str) -> None:
    """With role, shape and what is required."""
    roles: dict[str, Any] = {"boxes": BOXES[None], "scores": SCORES[None]}
    with pytest.raises(AlgorithmAnswerError, match=message):
        decoded(roles | changed)
