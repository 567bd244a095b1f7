"""Chooses what decodes the answers of a network."""

from importlib import import_module
from typing import Any, Final, cast

from broker.orders.algorithm_card import AlgorithmCard
from broker.settings.config import ConfigError
from worker.algorithms.decoders.interface import AnswerDecoder
from worker.algorithms.decoders.probabilities import Activation
from worker.algorithms.decoders.tiles import TilesDecoder
from worker.algorithms.output_settings import OutputSettings, TilesSettings

_OTHERS: Final = {
    "mask": "MaskDecoder",
    "objects": "ObjectsDecoder",
    "embeddings": "EmbeddingsDecoder",
}


def create_decoder(
    card: AlgorithmCard, settings: OutputSettings, activation: Activation, precision: str
) -> AnswerDecoder:
    """Return the decoder for the output of the card.

    `precision` is what the network computes in, as summaries state it.
    """
    if isinstance(settings, TilesSettings):
        return TilesDecoder(card, settings, activation, precision)
    name = card.output
    try:
        module: Any = import_module(f"worker.algorithms.decoders.{name}")
    except ModuleNotFoundError:
        raise ConfigError(
            f"worker.algorithms.{card.name}: model.json: output: {name} is not there yet"
        ) from None
    decoder = getattr(module, _OTHERS[name])(card, settings, activation, precision)
    return cast("AnswerDecoder", decoder)
