"""Make probabilities of what a network answers, and check that they are some."""

from typing import Any, Final, Literal

import torch
from torch import Tensor

from worker.algorithms.answer_error import AlgorithmAnswerError

Activation = Literal["auto", "softmax", "sigmoid", "none"]
TOLERANCE: Final = 1e-3
"""By how much a probability may leave 0 to 1, and the sum of probabilities 1."""


def float_tensor(role: str, answer: Any) -> Tensor:
    """Return the answer as float32.

    Raises AlgorithmAnswerError where it is no tensor of floating-point numbers, or holds NaN or
    infinity.
    """
    if not isinstance(answer, Tensor):
        raise AlgorithmAnswerError(f"outputs.{role} is a {type(answer).__name__}, not a tensor")
    if not answer.is_floating_point():
        raise AlgorithmAnswerError(
            f"outputs.{role} holds numbers of type {answer.dtype}; floating-point is required"
        )
    # A sum is finite only if all numbers are, and is several times as fast; but it may overflow.
    if not torch.isfinite(answer.sum(dtype=torch.float32)) and not torch.isfinite(answer).all():
        raise AlgorithmAnswerError(f"outputs.{role} holds NaN or infinity, in {answer.dtype}")
    return answer.float()


def activated(scores: Tensor, activation: Activation) -> Tensor:
    """Return the probabilities of scores (N, K, ...), one for each of K classes.

    `auto` is the softmax over two classes and more, and the sigmoid of one.
    """
    if activation == "softmax":
        return torch.softmax(scores, dim=1)
    if activation == "sigmoid":
        return torch.sigmoid(scores)
    if activation == "none":
        return scores
    if scores.shape[1] == 1:
        return torch.sigmoid(scores)
    return torch.softmax(scores, dim=1)


def check_range(role: str, probabilities: Tensor) -> None:
    """Raise AlgorithmAnswerError unless all numbers are probabilities, from 0 to 1."""
    if not probabilities.numel():
        return
    lowest = float(probabilities.min())
    highest = float(probabilities.max())
    if lowest < -TOLERANCE or highest > 1 + TOLERANCE:
        raise AlgorithmAnswerError(
            f"outputs.{role}: numbers from {lowest:g} to {highest:g} are no probabilities, which "
            "lie between 0 and 1; state the activation that makes some of them"
        )
