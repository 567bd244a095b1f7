"""Objects of heat maps: peaks, plateaus, thresholds, strides, refusals."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.decoded_networks import a_card
from worker.algorithms.answer_error import AlgorithmAnswerError
from worker.algorithms.decoders.objects import ObjectsDecoder
from worker.algorithms.output_settings import ObjectsSettings
from worker.geometry.frame import Floats
from worker.results.objects import Objects

EDGE = 12


def decoded(heat: Any, classes: int = 1, activation: Any = "none", **changed: Any) -> Objects:
    """What is made of the heat of one tile of 12 px."""
    card = a_card(*"abcd"[:classes], tile_px=8, halo_px=2)
    decoder = ObjectsDecoder(
        card, ObjectsSettings(style="centres", **changed), activation, "float32"
    )
    (found,) = decoder.decode({"heat": heat}, 1)
    return found


def a_heat(*points: tuple[int, int, float], edge: int = EDGE) -> Tensor:
    """A heat map (1, edge, edge), 0 but at these columns and rows."""
    heat = torch.zeros(1, edge, edge)
    for column, row, value in points:
        heat[0, row, column] = value
    return heat


def test_a_peak_is_a_pixel_that_no_neighbour_exceeds() -> None:
    """Its place is the middle of the pixel, its score its height, in reading order."""
    found = decoded(a_heat((7, 2, 0.75), (8, 3, 0.625), (3, 6, 0.5), (10, 10, 0.25)))
    assert found.centres.tolist() == [[7.5, 2.5], [3.5, 6.5]]
    assert found.scores.tolist() == [0.75, 0.5]


def test_a_plateau_is_one_peak_at_the_mean_of_its_pixels() -> None:
    """Also where its pixels touch at corners alone; another one of the same height is another."""
    plateau = [(2, 2, 0.75), (3, 2, 0.75), (2, 3, 0.75), (3, 3, 0.75)]
    slant = [(7, 7, 0.75), (8, 8, 0.75), (9, 9, 0.75)]
    found = decoded(a_heat(*plateau, *slant))
    assert found.centres.tolist() == [[3, 3], [8.5, 8.5]]
    flat = decoded(torch.full((1, EDGE, EDGE), 0.75))
    assert flat.centres.tolist() == [[6, 6]]


def test_peaks_are_those_of_the_maximum_of_nine_pixels_up_to_the_edge() -> None:
    """As max_pool2d finds them, in reading order, with neighbours across rows and without."""
    heat = torch.rand(1, EDGE, EDGE, generator=torch.Generator().manual_seed(0))
    highest = torch.nn.functional.max_pool2d(heat[None], 3, 1, 1)[0]
    rows, columns = ((heat == highest) & (heat >= 0.5))[0].nonzero(as_tuple=True)
    expected = torch.stack([columns, rows], dim=1).double() + 0.5
    assert decoded(heat).centres.tolist() == expected.tolist()
    across = a_heat((EDGE - 1, 3, 0.75), (0, 4, 0.75))
    assert decoded(across).centres.tolist() == [[EDGE - 0.5, 3.5], [0.5, 4.5]]


def test_a_score_of_exactly_the_threshold_stays() -> None:
    """Although 0.9 in float32, as a network answers it, is less than 0.9."""
    assert len(decoded(a_heat((3, 3, 0.9)), threshold=0.9)) == 1
    assert len(decoded(a_heat((3, 3, 0.9)), threshold=0.91)) == 0
    assert len(decoded(a_heat((3, 3, 0.5)))) == 1
    assert len(decoded(a_heat((3, 3, 0.49)))) == 0


def test_each_channel_is_a_class_with_a_sigmoid_of_its_own() -> None:
    """A place may be hot in two classes: heat maps are no distribution."""
    heat = torch.full((1, 2, EDGE, EDGE), -10.0)
    heat[0, :, 4, 4] = 2
    heat[0, 1, 8, 8] = 0.5
    found = decoded(heat, classes=2, activation="auto")
    assert found.classes.tolist() == [0, 1, 1]
    sigmoids = torch.sigmoid(torch.tensor([2, 2, 0.5]))
    assert found.scores == pytest.approx(sigmoids.numpy(), abs=1e-6)


def test_the_mark_is_a_square_of_object_um() -> None:
    """12.5 um unless the model says otherwise: 25 px of 0.5 um."""
    (outline,) = decoded(a_heat((3, 3, 1))).outlines
    assert outline.tolist() == [[-9, -9], [16, -9], [16, 16], [-9, 16]]
    (small,) = decoded(a_heat((3, 3, 1)), object_um=2).outlines
    assert small.tolist() == [[1.5, 1.5], [5.5, 1.5], [5.5, 5.5], [1.5, 5.5]]


def test_stride_and_crop_scale_and_move() -> None:
    """At a stride of 4 a map of 2 x 2 stands for the 8 px in the middle of 12."""
    found = decoded(a_heat((1, 0, 0.75), edge=2), output_stride=4)
    assert found.centres.tolist() == [[1.5 * 4 + 2, 0.5 * 4 + 2]]


@pytest.mark.parametrize(
    ("heat", "message"),
    [
        (torch.zeros(1, 2, EDGE, EDGE), r"shape \(1, 2, 12, 12\); classes says 1 channels"),
        (torch.zeros(2, EDGE, EDGE), "for a batch of 1 tiles"),
        (torch.zeros(1, EDGE, 8), r"shape \(1, 12, 8\)"),
        (torch.zeros(1, EDGE, EDGE).long(), "torch.int64"),
        (torch.zeros(1, EDGE, EDGE) / 0, "NaN or infinity"),
        (a_heat((2, 2, 1.5)), "no probabilities"),
        ((torch.zeros(1),), "is a tuple"),
    ],
)
def test_wrong_answers_are_refused(heat: Any, message: str) -> None:
    """With role, shape and what is required."""
    with pytest.raises(AlgorithmAnswerError, match=message):
        decoded(heat)


def test_the_same_peaks_come_whatever_else_is_in_the_batch() -> None:
    """A tile depends on no other."""
    random = torch.rand(3, 1, EDGE, EDGE, generator=torch.Generator().manual_seed(1))
    card = a_card("a", tile_px=8, halo_px=2)
    decoder = ObjectsDecoder(card, ObjectsSettings(style="centres"), "none", "float32")
    together = decoder.decode({"heat": random}, 3)
    centres: list[Floats] = [decoded(random[number : number + 1]).centres for number in range(3)]
    assert [one.centres.tolist() for one in together] == [one.tolist() for one in centres]
