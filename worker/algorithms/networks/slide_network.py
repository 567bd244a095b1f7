"""Classifies a slide: an encoder makes a vector of each tile, an aggregator judges all of them."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from broker.errors import TemporaryError
from broker.orders.algorithm_card import AlgorithmCard
from worker.algorithms.answer_error import AlgorithmAnswerError
from worker.algorithms.decoders.interface import Answers
from worker.algorithms.decoders.probabilities import (
    Activation,
    activated,
    check_range,
    float_tensor,
)
from worker.algorithms.interface import (
    SlideAnswer,
    TileAlgorithm,
    TileClassifier,
    TilePlaces,
)
from worker.algorithms.output_settings import EmbeddingsSettings, SlideSettings
from worker.algorithms.torch_device.device import Device
from worker.algorithms.torch_device.memory import free_bytes, is_short_of_memory, release
from worker.geometry.frame import Floats, Pixels

_BAGS: Final = 2
"""So many times the bytes of all vectors must be free: an aggregator computes others of them."""


class Aggregator:
    """A trained network that is given the vectors of all tiles of a slide, on one device."""

    def __init__(
        self,
        run: Callable[..., Answers],
        device: Device,
        settings: SlideSettings,
        activation: Activation,
        classes: int,
    ) -> None:
        """`run` is the network, given the inputs that the settings name; it answers by role."""
        self._run = run
        self._device = device
        self._settings = settings
        self._activation = activation
        self._classes = classes

    def ask(self, features: NDArray[np.float32], places: TilePlaces | None) -> SlideAnswer:
        """Return what the network answers for T tiles; see `SlideAlgorithm.aggregate`."""
        tiles = len(features)
        self._check_room(features)
        try:
            with self._device.turn(), torch.inference_mode():
                inputs = self._inputs(features, places)
                answers = self._run(*inputs)
                probabilities = self._probabilities(answers)
                attention = self._attention(answers, tiles)
        except AlgorithmAnswerError as error:
            raise AlgorithmAnswerError(f"slide: {error.detail}", error.hint) from None
        except (RuntimeError, MemoryError) as error:
            if not is_short_of_memory(error):
                raise
            release()
            raise self._too_many(tiles) from None
        return SlideAnswer(probabilities, attention)

    def _inputs(self, features: NDArray[np.float32], places: TilePlaces | None) -> list[Tensor]:
        given = {"features": torch.from_numpy(features)}
        if places is not None:
            given["coords"] = torch.from_numpy(places.corners)
        if self._settings.bag == "1TD":
            given = {name: bag[None] for name, bag in given.items()}
        if places is not None:
            given["patch_size_level0"] = torch.tensor(places.patch_px, dtype=torch.int64)
        return [given[name].to(self._device.torch) for name in self._settings.inputs]

    def _probabilities(self, answers: Answers) -> Floats:
        """Return how likely each class is, (K,). Raises AlgorithmAnswerError."""
        logits = float_tensor("logits", _role(answers, "logits"))
        shape = tuple(logits.shape)
        allowed = [(self._classes,), (1, self._classes)]
        if self._classes == 1:
            allowed.append(())
        if shape not in allowed:
            raise AlgorithmAnswerError(
                f"outputs.logits has shape {shape}; classes says {self._classes}"
            )
        probabilities = activated(logits.reshape(1, self._classes).double(), self._activation)[0]
        check_range("logits", probabilities)
        found: Floats = probabilities.clamp(0, 1).cpu().numpy()
        return found

    def _attention(self, answers: Answers, tiles: int) -> NDArray[np.float32] | None:
        """Return the attention as (R, T), None where the network answers none.

        Raises AlgorithmAnswerError.
        """
        if "attention" not in answers:
            return None
        attention = float_tensor("attention", answers["attention"])
        shape = tuple(attention.shape)
        rows = shape
        if len(rows) == 3 and rows[0] == 1:
            rows = rows[1:]
        if rows in ((tiles,), (tiles, 1)):
            rows = (1, tiles)
        if len(rows) != 2 or rows[1] != tiles or rows[0] < 1:
            raise AlgorithmAnswerError(
                f"outputs.attention has shape {shape}; there are {tiles} tiles, each with "
                "one number, or one for each class"
            )
        head = self._settings.attention_head
        if head is not None and head >= rows[0]:
            raise AlgorithmAnswerError(
                f"outputs.attention has {rows[0]} rows; attention_head says number {head}, "
                "counted from 0"
            )
        found: NDArray[np.float32] = attention.reshape(rows).cpu().numpy()
        return found

    def _check_room(self, features: NDArray[np.float32]) -> None:
        """Raise TemporaryError rather than be killed for memory, with all that was encoded."""
        if _BAGS * features.nbytes > free_bytes(self._device):
            raise self._too_many(len(features))

    @staticmethod
    def _too_many(tiles: int) -> TemporaryError:
        return TemporaryError(
            "out_of_memory",
            f"the vectors of {tiles:,} tiles are too much for the device at a time",
            hint='state "max_tiles" in model.json or order a region',
        )


class SlideNetwork:
    """An algorithm that classifies slides: the encoder of tiles, and the aggregator."""

    works_on: Literal["tiles"] = "tiles"

    def __init__(
        self,
        card: AlgorithmCard,
        settings: SlideSettings,
        encoder: TileAlgorithm,
        aggregator: Aggregator,
    ) -> None:
        """`card` has the tiles of the encoder's card. `encoder` must answer embeddings."""
        encoder_settings = encoder.settings
        if not isinstance(encoder_settings, EmbeddingsSettings):
            raise TypeError(f"{encoder.card.name} answers no embeddings")
        self.card = card
        self.settings = settings
        self.encoder_settings = encoder_settings
        self.batch_tiles = encoder.batch_tiles
        self._encoder = encoder
        self._aggregator = aggregator

    def calibrate(self, samples: Pixels) -> TileClassifier:
        """Return the encoder, set up for the scan."""
        return self._encoder.calibrate(samples)

    def aggregate(self, features: NDArray[np.float32], places: TilePlaces | None) -> SlideAnswer:
        """Return what the aggregator answers for T tiles; see `SlideAlgorithm.aggregate`."""
        return self._aggregator.ask(features, places)


def _role(answers: Mapping[str, Any], role: str) -> Any:
    if role not in answers:
        raise AlgorithmAnswerError(f"the network answers no outputs.{role}")
    return answers[role]
