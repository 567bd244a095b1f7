"""Checks that are common to what networks answer: whole numbers, shapes, numbers of classes."""

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.algorithms.answer_error import AlgorithmAnswerError
from worker.algorithms.decoders.interface import Answers

MAX_OBJECTS: Final = 100_000
"""The most objects of one tile. A square millimetre of tissue holds some 10,000 nuclei."""
_EXACT: Final = 2**53
_WHOLE_FLOATS: Final = (torch.float32, torch.float64)
"""The floating-point types whose whole numbers are taken: 300 is none in bfloat16."""


def required(answers: Answers, role: str) -> Any:
    """Return what was answered in this role. Raises AlgorithmAnswerError where nothing was."""
    if role not in answers:
        raise AlgorithmAnswerError(f"outputs.{role}: the network answers nothing in this role")
    return answers[role]


def required_tensor(answers: Answers, role: str, tiles: int) -> Tensor:
    """Return what was answered in this role: a tensor whose dimension 0 counts the tiles.

    Raises AlgorithmAnswerError for anything else.
    """
    answer = required(answers, role)
    if not isinstance(answer, Tensor):
        raise AlgorithmAnswerError(f"outputs.{role} is a {type(answer).__name__}")
    check_batch(role, answer, tiles)
    return answer


def whole_numbers(role: str, answer: Any) -> Tensor:
    """Return a tensor of whole numbers as int64.

    Raises AlgorithmAnswerError unless the answer is a tensor of an integer type, or of whole
    numbers as float32 or float64.
    """
    if not isinstance(answer, Tensor):
        raise AlgorithmAnswerError(f"outputs.{role} is a {type(answer).__name__}, not a tensor")
    if answer.dtype == torch.bool or answer.is_complex():
        raise _not_whole(role, answer)
    if not answer.is_floating_point():
        return answer.long()
    if answer.dtype not in _WHOLE_FLOATS:
        raise _not_whole(role, answer)
    is_whole = (answer == answer.round()) & (answer.abs() < _EXACT)
    if not bool(is_whole.all()):
        raise AlgorithmAnswerError(f"outputs.{role} holds numbers that are not whole")
    return answer.long()


def check_batch(role: str, answer: Tensor, tiles: int) -> None:
    """Raise AlgorithmAnswerError unless dimension 0 of the answer counts the tiles."""
    if answer.ndim == 0 or answer.shape[0] != tiles:
        raise AlgorithmAnswerError(
            f"outputs.{role} has shape {tuple(answer.shape)} for a batch of {tiles} tiles"
        )


def check_classes(role: str, numbers: NDArray[np.integer[Any]], classes: int) -> None:
    """Raise AlgorithmAnswerError unless all numbers are those of classes."""
    if not numbers.size:
        return
    lowest = int(numbers.min())
    highest = int(numbers.max())
    if lowest < 0 or highest >= classes:
        wrong = lowest
        if highest >= classes:
            wrong = highest
        raise AlgorithmAnswerError(
            f"outputs.{role} holds the class number {wrong}; classes says {classes} classes, "
            f"numbered 0 to {classes - 1}"
        )


def check_count(role: str, count: int) -> None:
    """Raise AlgorithmAnswerError for more objects in one tile than anybody could use."""
    if count > MAX_OBJECTS:
        raise AlgorithmAnswerError(
            f"outputs.{role} makes {count:,} objects of one tile; at most {MAX_OBJECTS:,} are read"
        )


def _not_whole(role: str, answer: Tensor) -> AlgorithmAnswerError:
    return AlgorithmAnswerError(
        f"outputs.{role} holds numbers of type {answer.dtype}; integers, or whole numbers as "
        "float32, are required"
    )
