"""Makes objects of boxes, as detectors answer them."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from broker.orders.algorithm_card import AlgorithmCard
from worker.algorithms.answer_error import AlgorithmAnswerError
from worker.algorithms.decoders.answers import (
    check_batch,
    check_classes,
    check_count,
    required,
    whole_numbers,
)
from worker.algorithms.decoders.interface import Answers
from worker.algorithms.decoders.probabilities import (
    Activation,
    activated,
    check_range,
    float_tensor,
)
from worker.algorithms.output_settings import ObjectsSettings
from worker.geometry.frame import Floats, Ints
from worker.results.objects import Objects

_BOXES: Final = "boxes"
_SCORES: Final = "scores"
_LABELS: Final = "labels"


class BoxesDecoder:
    """Turns boxes, their scores and their classes into objects, whose outlines are the boxes.

    Each role is a tensor whose dimension 0 counts the tiles, or a list of one tensor for each
    tile. Rows that score below the threshold are padding: their boxes may hold anything. A box is
    cut at the edge of the tile.
    """

    def __init__(
        self, card: AlgorithmCard, settings: ObjectsSettings, activation: Activation
    ) -> None:
        self._classes = len(card.classes)
        self._input_px = card.tile_px + 2 * card.halo_px
        self._settings = settings
        self._activation = activation
        if activation == "auto":
            self._activation = "none"

    def decode(self, answers: Answers, tiles: int) -> list[Objects]:
        """Return the objects of each tile, in the order of the rows."""
        boxes = _by_tile(_BOXES, required(answers, _BOXES), tiles)
        scores = _by_tile(_SCORES, required(answers, _SCORES), tiles)
        labels: Sequence[Any] = [None] * tiles
        if answers.get(_LABELS) is not None:
            labels = _by_tile(_LABELS, answers[_LABELS], tiles)
        return [self._objects(*tile) for tile in zip(boxes, scores, labels, strict=True)]

    def _objects(self, boxes: Any, scores: Any, labels: Any) -> Objects:
        """Return the objects of one tile."""
        rows, probabilities, classes = self._scored(scores)
        if labels is not None:
            classes = self._labelled(labels, len(rows))
        kept = (rows >= np.float32(self._settings.least_score)) & (classes >= 0)
        corners = self._corners(boxes, len(rows), kept)
        check_count(_BOXES, len(corners))
        chosen = np.flatnonzero(kept)
        has_area = (corners[:, 2:] > corners[:, :2]).all(axis=1)
        chosen = chosen[has_area]
        corners = corners[has_area]
        check_classes(_LABELS, classes[chosen], self._classes)
        if probabilities.size:
            probabilities = probabilities[chosen]
        return Objects(
            centres=(corners[:, :2] + corners[:, 2:]) / 2,
            outlines=tuple(corners[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)),
            classes=classes[chosen],
            scores=rows[chosen].astype(np.float64),
            probabilities=probabilities,
        )

    def _scored(self, answer: Any) -> tuple[NDArray[np.float32], Floats, Ints]:
        """Return the score of each row, its probabilities where it has some, and its class."""
        scores = float_tensor(_SCORES, answer)
        shape = tuple(scores.shape)
        single = scores.ndim == 1
        if single:
            scores = scores[:, None]
        if scores.ndim != 2 or (not single and shape[1] != self._classes):
            raise AlgorithmAnswerError(
                f"outputs.{_SCORES} has shape {shape} for a tile; (boxes,) or (boxes, "
                f"{self._classes}) is required, since classes says {self._classes} classes"
            )
        scores = activated(scores, self._activation)
        check_range(_SCORES, scores)
        values = scores.cpu().numpy()
        if not len(values):
            return np.empty(0, np.float32), np.empty((0, 0)), np.empty(0, np.int64)
        probabilities = np.empty((0, 0))
        if not single:
            probabilities = values.astype(np.float64)
        return values.max(axis=1), probabilities, values.argmax(axis=1)

    def _labelled(self, answer: Any, rows: int) -> Ints:
        """Return the number of each row's class; below 0 for what the network calls background."""
        labels = whole_numbers(_LABELS, answer)
        if tuple(labels.shape) != (rows,):
            raise AlgorithmAnswerError(
                f"outputs.{_LABELS} has shape {tuple(labels.shape)} for a tile; scores has {rows} "
                "rows"
            )
        numbers: Ints = labels.cpu().numpy()
        offset = self._settings.label_offset
        return np.where(numbers < 0, self._classes, numbers - offset)

    def _corners(self, answer: Any, rows: int, kept: NDArray[np.bool_]) -> Floats:
        """Return left, top, right and bottom of the kept boxes, (B, 4), cut at the tile's edge."""
        if not isinstance(answer, Tensor) or not answer.is_floating_point():
            raise AlgorithmAnswerError(f"outputs.{_BOXES} is no tensor of floating-point numbers")
        if tuple(answer.shape) != (rows, 4):
            raise AlgorithmAnswerError(
                f"outputs.{_BOXES} has shape {tuple(answer.shape)} for a tile; scores has {rows} "
                f"rows, so {(rows, 4)} is required"
            )
        boxes: Floats = answer.double().cpu().numpy()[kept]
        if not np.isfinite(boxes).all():
            raise AlgorithmAnswerError(f"outputs.{_BOXES} holds NaN or infinity")
        if self._settings.box_units == "unit":
            boxes = boxes * self._input_px
        if self._settings.box_format == "cxcywh":
            half = boxes[:, 2:] / 2
            boxes = np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)
        if (boxes[:, 2:] < boxes[:, :2]).any():
            raise AlgorithmAnswerError(
                f"outputs.{_BOXES} holds a box whose right or lower edge comes before its left or "
                f"upper one; box_format is {self._settings.box_format}"
            )
        return boxes.clip(0, self._input_px)


def _by_tile(role: str, answer: Any, tiles: int) -> Sequence[Any]:
    """Return what was answered for each tile."""
    if isinstance(answer, Tensor):
        check_batch(role, answer, tiles)
        return answer.unbind(0)
    if isinstance(answer, list | tuple):
        if len(answer) != tiles:
            raise AlgorithmAnswerError(
                f"outputs.{role} is a list of {len(answer)} for a batch of {tiles} tiles"
            )
        return answer
    raise AlgorithmAnswerError(f"outputs.{role} is a {type(answer).__name__}, not a tensor")
