"""One vector for each tile of what encoders answer, and the refusal of everything else."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.support.results import a_card
from worker.algorithms.answer_error import AlgorithmAnswerError
from worker.algorithms.decoders.embeddings import EmbeddingsDecoder
from worker.algorithms.output_settings import EmbeddingsSettings

TOKENS = torch.arange(2 * 6 * 3, dtype=torch.float32).reshape(2, 6, 3)


def decoded(answer: Any, tiles: int = 2, **settings: Any) -> np.ndarray[Any, Any]:
    decoder = EmbeddingsDecoder(
        a_card("embeddings"), EmbeddingsSettings(**settings), "auto", "float32"
    )
    return decoder.decode({"features": answer}, tiles)


def test_vectors_come_as_they_are_answered() -> None:
    """In float32, whatever the network computes in; trailing dimensions of 1 fall away."""
    vectors = torch.tensor([[1.5, -2, 3], [0, 1e-3, 70000]])
    for answer in (vectors, vectors[:, :, None, None], vectors.double()):
        features = decoded(answer)
        assert features.dtype == np.float32
        assert np.array_equal(features, vectors.numpy())
    half = decoded(torch.tensor([[1.5], [0.1]], dtype=torch.float16))
    assert half.dtype == np.float32
    assert np.array_equal(half, np.array([[1.5], [0.1]], np.float16).astype(np.float32))


def test_finite_numbers_whose_sum_is_infinite_are_a_vector() -> None:
    """They are looked at one by one."""
    largest = torch.full((2, 3), torch.finfo(torch.float32).max)
    assert np.array_equal(decoded(largest), largest.numpy())


def test_one_number_for_each_tile_is_a_vector_too() -> None:
    """D may be 1."""
    assert decoded(torch.ones(2, 1)).shape == (2, 1)


@pytest.mark.parametrize(
    ("pool", "prefix", "expected"),
    [
        ("cls", 1, TOKENS[:, 0]),
        ("mean", 1, TOKENS[:, 1:].mean(dim=1)),
        ("mean", 0, TOKENS.mean(dim=1)),
        ("cls+mean", 1, torch.cat([TOKENS[:, 0], TOKENS[:, 1:].mean(dim=1)], dim=1)),
        ("cls+mean", 5, torch.cat([TOKENS[:, 0], TOKENS[:, 5]], dim=1)),
    ],
)
def test_tokens_are_pooled(pool: str, prefix: int, expected: torch.Tensor) -> None:
    """As Virchow (one token before those of patches) and Virchow2 (five) say."""
    assert np.array_equal(decoded(TOKENS, pool=pool, prefix_tokens=prefix), expected.numpy())


@pytest.mark.parametrize(
    ("answer", "settings", "said"),
    [
        (torch.ones(3, 4), {}, "has shape (3, 4); (2, D)"),
        (torch.ones(2), {}, "has shape (2,); (2, D)"),
        (TOKENS, {}, 'has shape (2, 6, 3); (2, D) is needed: tokens need "pool"'),
        (torch.ones(2, 3), {"pool": "cls"}, "has shape (2, 3); (2, tokens, D)"),
        (torch.ones(2, 0, 3), {"pool": "cls"}, "at least 1 tokens"),
        (TOKENS, {"pool": "mean", "prefix_tokens": 6}, "at least 7 tokens"),
        (torch.tensor([[1.0], [float("nan")]]), {}, "NaN or infinity"),
        (torch.tensor([[1.0], [float("-inf")]]), {}, "NaN or infinity"),
        (torch.ones(2, 3, dtype=torch.int64), {}, "torch.int64"),
        ([1.0, 2.0], {}, "is a list"),
        (torch.tensor([[1.0], [7e4]]), {"store": "float16"}, "holds 70000, and float16 ends at"),
    ],
)
def test_anything_else_fails_the_scan_and_says_why(
    answer: Any, settings: dict[str, Any], said: str
) -> None:
    """The shape that came and the one that is needed; never a vector that is none."""
    with pytest.raises(AlgorithmAnswerError) as error:
        decoded(answer, **settings)
    assert said in error.value.detail
    assert error.value.problem.blame == "algorithm"


def test_an_answer_without_the_role_is_refused() -> None:
    """A dictionary may lack what model.json says."""
    decoder = EmbeddingsDecoder(a_card("embeddings"), EmbeddingsSettings(), "auto", "float32")
    with pytest.raises(AlgorithmAnswerError, match=r"outputs\.features"):
        decoder.decode({"logits": torch.ones(2, 3)}, 2)
