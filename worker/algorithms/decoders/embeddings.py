"""Makes one vector for each tile of what an encoder answers."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from broker.orders.algorithm_card import AlgorithmCard
from worker.algorithms.answer_error import AlgorithmAnswerError
from worker.algorithms.decoders.interface import Answers
from worker.algorithms.decoders.probabilities import Activation, float_tensor
from worker.algorithms.output_settings import EmbeddingsSettings
from worker.geometry.frame import Area, Frame
from worker.geometry.roi import size_mm2

ROLE: Final = "features"
_LARGEST_FLOAT16: Final = 65504.0


class EmbeddingsDecoder:
    """Decodes the answers of one encoder. Threads may share it.

    An answer is `features`, (N, D), or with `pool` tokens, (N, T, D): token 0 is that of the whole
    tile (`cls`), those from `prefix_tokens` on are those of its patches (`mean` is their mean).
    """

    def __init__(
        self,
        card: AlgorithmCard,
        settings: EmbeddingsSettings,
        _activation: Activation,
        precision: str,
    ) -> None:
        """`precision` is the one that the encoder computes in. Nothing activates a vector."""
        self._card = card
        self._settings = settings
        self._precision = precision

    def decode(self, answers: Answers, tiles: int) -> NDArray[np.float32]:
        """Return one vector for each tile, (N, D).

        Raises AlgorithmAnswerError for another shape or type, NaN and infinity, and for numbers
        that the ordered `store` cannot hold.
        """
        if ROLE not in answers:
            raise AlgorithmAnswerError(f"the network answers no outputs.{ROLE}")
        vectors = self._pooled(float_tensor(ROLE, answers[ROLE]), tiles)
        features: NDArray[np.float32] = vectors.contiguous().cpu().numpy()
        largest = float(np.abs(features).max(initial=0.0))
        if self._settings.store == "float16" and largest > _LARGEST_FLOAT16:
            raise AlgorithmAnswerError(
                f"outputs.{ROLE} holds {largest:g}, and float16 ends at {_LARGEST_FLOAT16:g}",
                hint='state "store": "float32" in model.json',
            )
        return features

    def summarise(
        self, _counts: Sequence[int], frame: Frame, area: Area
    ) -> tuple[dict[str, Any], str]:
        """Return what is known before a tile is read: the area and the precision. No headline."""
        return {"area_mm2": size_mm2(area, frame), "precision": self._precision}, ""

    def _pooled(self, answer: Tensor, tiles: int) -> Tensor:
        pool = self._settings.pool
        shape = tuple(answer.shape)
        if pool is None:
            if len(shape) < 2 or shape[0] != tiles or any(length != 1 for length in shape[2:]):
                raise self._wrong_shape(shape, f"({tiles}, D)", 'tokens need "pool" in model.json')
            return answer.reshape(shape[:2])
        if len(shape) != 3 or shape[0] != tiles:
            raise self._wrong_shape(shape, f"({tiles}, tokens, D)", "pool takes tokens")
        if pool == "cls":
            self._check_tokens(shape, 1)
            return answer[:, 0]
        prefix = self._settings.prefix_tokens
        self._check_tokens(shape, prefix + 1)
        means = answer[:, prefix:].mean(dim=1)
        if pool == "mean":
            return means
        return torch.cat([answer[:, 0], means], dim=1)

    def _check_tokens(self, shape: tuple[int, ...], least: int) -> None:
        if shape[1] < least:
            raise self._wrong_shape(
                shape,
                f"at least {least} tokens",
                f"prefix_tokens is {self._settings.prefix_tokens}",
            )

    @staticmethod
    def _wrong_shape(shape: tuple[int, ...], needed: str, reason: str) -> AlgorithmAnswerError:
        return AlgorithmAnswerError(
            f"outputs.{ROLE} has shape {shape}; {needed} is needed: {reason}"
        )
