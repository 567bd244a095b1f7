"""What a network for slides is given and may answer."""

from typing import Any

import numpy as np
import pytest
import torch

from broker.errors import TemporaryError
from tests.support.encoders import SLIDE_CARD, MeanColours, a_slide_network
from worker.algorithms.answer_error import AlgorithmAnswerError
from worker.algorithms.decoders.probabilities import Activation
from worker.algorithms.interface import SlideAlgorithm, SlideAnswer, TilePlaces
from worker.algorithms.networks.slide_network import Aggregator, SlideNetwork
from worker.algorithms.output_settings import SlideSettings
from worker.algorithms.torch_device.device import resolve

TILES = 5
FEATURES = np.arange(TILES * 3, dtype=np.float32).reshape(TILES, 3)
COORDS = np.arange(TILES * 2).reshape(TILES, 2)
LOGITS = torch.tensor([0.0, 2.0])


class Recorded:
    """A network that remembers what it was given."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.given: tuple[torch.Tensor, ...] = ()

    def __call__(self, *inputs: torch.Tensor) -> dict[str, Any]:
        self.given = inputs
        return self.answers


def asked(
    network: Any, classes: int = 2, activation: Activation = "auto", **settings: Any
) -> SlideAnswer:
    aggregator = Aggregator(network, resolve("cpu"), SlideSettings(**settings), activation, classes)
    return aggregator.ask(FEATURES, TilePlaces(COORDS, 448))


def test_the_bag_has_a_batch_dimension_unless_the_model_says_otherwise() -> None:
    """As TRIDENT's and MIL-Lab's networks take it, or CLAM's."""
    network = Recorded(logits=LOGITS)
    asked(network)
    (features,) = network.given
    assert features.shape == (1, TILES, 3)
    assert features.dtype == torch.float32
    asked(network, bag="TD")
    assert np.array_equal(network.given[0].numpy(), FEATURES)


def test_places_come_in_the_order_that_the_model_says() -> None:
    """coords and patch_size_level0 are int64, in level-0 pixels."""
    network = Recorded(logits=LOGITS)
    asked(network, inputs=("coords", "features", "patch_size_level0"))
    coords, features, patch = network.given
    assert np.array_equal(coords.numpy(), COORDS[None])
    assert features.shape == (1, TILES, 3)
    assert (patch.shape, int(patch)) == ((), 448)
    assert {coords.dtype, patch.dtype} == {torch.int64}
    asked(network, bag="TD", inputs=("coords", "features"))
    assert np.array_equal(network.given[0].numpy(), COORDS)


@pytest.mark.parametrize("shape", [(2,), (1, 2)])
def test_scores_become_probabilities(shape: tuple[int, ...]) -> None:
    """The softmax of several, (K,) or (1, K)."""
    answer = asked(Recorded(logits=LOGITS.reshape(shape)))
    assert np.allclose(answer.probabilities, [1 / (1 + np.e**2), np.e**2 / (1 + np.e**2)])
    assert answer.attention is None


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_one_score_becomes_one_probability(shape: tuple[int, ...]) -> None:
    """The sigmoid; () too."""
    answer = asked(Recorded(logits=torch.full(shape, 2.0)), classes=1)
    assert np.allclose(answer.probabilities, [1 / (1 + np.e**-2)])


def test_probabilities_stay_what_they_are() -> None:
    """Under activation none, as AttentionDeepMIL ends in a sigmoid."""
    answer = asked(Recorded(logits=torch.tensor([0.25, 0.75])), activation="none")
    assert answer.probabilities.tolist() == [0.25, 0.75]


@pytest.mark.parametrize(
    ("shape", "rows"),
    [
        ((TILES,), 1),
        ((1, TILES), 1),
        ((TILES, 1), 1),
        ((2, TILES), 2),
        ((1, 2, TILES), 2),
        ((1, 1, TILES), 1),
        ((8, TILES), 8),
    ],
)
def test_attention_comes_in_any_shape_of_the_field(shape: tuple[int, ...], rows: int) -> None:
    """As it is answered: not activated by us."""
    values = torch.linspace(-3, 7, rows * TILES)
    answer = asked(Recorded(logits=LOGITS, attention=values.reshape(shape)))
    assert answer.attention is not None
    assert answer.attention.dtype == np.float32
    assert np.array_equal(answer.attention, values.numpy().reshape(rows, TILES))


def test_as_many_rows_as_tiles_are_rows() -> None:
    """(T, T) is one row for each head."""
    square = torch.arange(25.0).reshape(5, 5)
    attention = asked(Recorded(logits=LOGITS, attention=square)).attention
    assert attention is not None
    assert np.array_equal(attention, square.numpy())


@pytest.mark.parametrize(
    ("answers", "activation", "said"),
    [
        ({}, "auto", "answers no outputs.logits"),
        ({"logits": torch.ones(3)}, "auto", "slide: outputs.logits has shape (3,); classes says 2"),
        ({"logits": torch.ones(2, 1)}, "auto", "outputs.logits has shape (2, 1)"),
        ({"logits": torch.tensor(1.0)}, "auto", "outputs.logits has shape ()"),
        ({"logits": torch.tensor([1, 2])}, "auto", "torch.int64"),
        ({"logits": torch.tensor([1.0, float("nan")])}, "auto", "NaN"),
        ({"logits": torch.tensor([0.5, 1.5])}, "none", "are no probabilities"),
        (
            {"logits": LOGITS, "attention": torch.ones(4)},
            "auto",
            "slide: outputs.attention has shape (4,); there are 5 tiles",
        ),
        ({"logits": LOGITS, "attention": torch.ones(5, 2)}, "auto", "has shape (5, 2)"),
        ({"logits": LOGITS, "attention": torch.ones(2, 1, 5)}, "auto", "has shape (2, 1, 5)"),
        ({"logits": LOGITS, "attention": torch.ones(0, 5)}, "auto", "has shape (0, 5)"),
        ({"logits": LOGITS, "attention": torch.full((5,), torch.inf)}, "auto", "infinity"),
        ({"logits": LOGITS, "attention": "much"}, "auto", "is a str"),
    ],
)
def test_anything_else_fails_the_scan_and_says_why(
    answers: dict[str, Any], activation: Activation, said: str
) -> None:
    """Wrong shapes, types and numbers, by role."""
    with pytest.raises(AlgorithmAnswerError) as error:
        asked(Recorded(**answers), activation=activation)
    assert said in error.value.detail


def test_a_head_that_is_not_there_is_an_error() -> None:
    """attention_head counts from 0."""
    network = Recorded(logits=LOGITS, attention=torch.ones(2, TILES))
    assert asked(network, attention_head=1).attention is not None
    with pytest.raises(AlgorithmAnswerError, match="2 rows; attention_head says number 2"):
        asked(network, attention_head=2)


def test_too_many_tiles_for_the_memory_are_refused_before_they_kill_the_worker() -> None:
    """Another worker may have the memory; the hint says what the model can do."""
    huge = np.lib.stride_tricks.as_strided(FEATURES, (2**30, 2**20), (0, 0))
    aggregator = Aggregator(Recorded(), resolve("cpu"), SlideSettings(), "auto", 2)
    with pytest.raises(TemporaryError, match="1,073,741,824 tiles") as error:
        aggregator.ask(huge, TilePlaces(COORDS, 448))
    assert error.value.problem.code == "out_of_memory"
    assert "max_tiles" in error.value.problem.hint


def test_a_network_that_runs_out_of_memory_costs_its_scan_alone() -> None:
    """Whatever the device says."""

    def run(*_inputs: torch.Tensor) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(TemporaryError) as error:
        asked(run)
    assert error.value.problem.code == "out_of_memory"


def test_only_embeddings_can_be_aggregated() -> None:
    """An encoder that answers classes is a mistake of the loader."""

    class Classifies(MeanColours):
        settings = SlideSettings()  # type: ignore[assignment]

        def __init__(self) -> None:
            """Keep the settings of the class."""

        card = SLIDE_CARD

    aggregator = Aggregator(Recorded(), resolve("cpu"), SlideSettings(), "auto", 2)
    with pytest.raises(TypeError, match="answers no embeddings"):
        SlideNetwork(SLIDE_CARD, SlideSettings(), Classifies(), aggregator)


def test_it_is_what_the_merger_needs() -> None:
    """Told apart from networks that are not."""
    assert isinstance(a_slide_network(), SlideAlgorithm)
    assert not isinstance(MeanColours(), SlideAlgorithm)
