"""Decode networks that answer a class for each pixel."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from broker.orders.algorithm_card import AlgorithmCard
from worker.algorithms.answer_error import AlgorithmAnswerError
from worker.algorithms.decoders.answers import required
from worker.algorithms.decoders.geometry import crop_px
from worker.algorithms.decoders.interface import Answers
from worker.algorithms.decoders.probabilities import (
    Activation,
    activated,
    check_range,
    float_tensor,
)
from worker.algorithms.output_settings import MaskSettings
from worker.geometry.frame import Area, Frame, Ints
from worker.geometry.roi import size_mm2

ROLE: Final = "logits"
_INTEGERS: Final = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


class MaskDecoder:
    """Decodes probabilities or class numbers of pixels. Threads may share it."""

    def __init__(
        self, card: AlgorithmCard, settings: MaskSettings, activation: Activation, precision: str
    ) -> None:
        self._card = card
        self._settings = settings
        self._activation: Activation = activation
        self._precision = precision
        self._crop_px: int | None = None

    def decode(self, answers: Answers, tiles: int) -> NDArray[np.float32] | Ints:
        """Return (N, K, h, w), how likely each of K classes is, or (N, h, w), class numbers.

        Scores are `(N, K, h, w)`, with one class also `(N, h, w)`. Class numbers are `(N, h, w)`
        or `(N, 1, h, w)`, and may have any type of integers.

        Raises AlgorithmAnswerError for anything else, and where the crop is another one than
        before, or larger than the halo.
        """
        answer = required(answers, ROLE)
        if isinstance(answer, Tensor) and answer.dtype in _INTEGERS:
            return self._class_numbers(answer, tiles)
        scores = float_tensor(ROLE, answer)
        classes = len(self._card.classes)
        if classes == 1 and scores.ndim == 3:
            scores = scores[:, None]
        if scores.ndim != 4 or scores.shape[:2] != (tiles, classes):
            raise self._wrong_shape(answer, tiles)
        self._check_crop(scores)
        probabilities = activated(scores, self._activation)
        if self._activation == "none":
            # what an activation makes is in range
            check_range(ROLE, probabilities)
            probabilities = probabilities.clamp(0, 1)
        on_cpu: NDArray[np.float32] = probabilities.cpu().numpy()
        return on_cpu

    def summarise(
        self, counts: Sequence[int], frame: Frame, area: Area
    ) -> tuple[dict[str, Any], str]:
        """Return the size of the area and the number of polygons of each class.

        The merger of masks replaces all but the precision: only polygons have areas.
        """
        names = [entry.name for entry in self._card.classes]
        summary = {
            "area_mm2": size_mm2(area, frame),
            "polygons_by_class": dict(zip(names, counts, strict=True)),
            "precision": self._precision,
        }
        return summary, f"{sum(counts):,} polygons"

    def _class_numbers(self, answer: Tensor, tiles: int) -> Ints:
        numbers = answer
        if numbers.ndim == 4 and numbers.shape[1] == 1:
            numbers = numbers[:, 0]
        if numbers.ndim != 3 or len(numbers) != tiles:
            raise self._wrong_shape(answer, tiles)
        self._check_crop(numbers)
        classes = len(self._card.classes)
        if numbers.numel():
            lowest = int(numbers.min())
            highest = int(numbers.max())
            if lowest < 0 or highest >= classes:
                raise AlgorithmAnswerError(
                    f"outputs.{ROLE} holds class numbers from {lowest} to {highest}; "
                    f"classes says {classes}, numbered from 0"
                )
        on_cpu: Ints = numbers.long().cpu().numpy()
        return on_cpu

    def _check_crop(self, answer: Tensor) -> None:
        """Raise AlgorithmAnswerError unless the answer covers the core, as in every call before."""
        card = self._card
        input_px = card.tile_px + 2 * card.halo_px
        crop = crop_px(ROLE, tuple(answer.shape), input_px, self._settings.output_stride)
        if self._crop_px is None:
            self._crop_px = crop
        if crop != self._crop_px:
            raise AlgorithmAnswerError(
                f"outputs.{ROLE} has shape {tuple(answer.shape)}, {crop} px less than the "
                f"tile on each side; it was {self._crop_px} px before"
            )
        if crop > card.halo_px:
            raise AlgorithmAnswerError(
                f"outputs.{ROLE} has shape {tuple(answer.shape)}, {crop} px less than the "
                f"tile on each side; halo_px is {card.halo_px} and must be at least {crop}"
            )

    def _wrong_shape(self, answer: Tensor, tiles: int) -> AlgorithmAnswerError:
        classes = len(self._card.classes)
        return AlgorithmAnswerError(
            f"outputs.{ROLE} has shape {tuple(answer.shape)} for a batch of {tiles}; "
            f"classes says {classes} channels, so ({tiles}, {classes}, h, w) or integers "
            f"({tiles}, h, w) are required"
        )
