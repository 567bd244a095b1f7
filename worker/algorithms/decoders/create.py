"""Chooses what decodes the answers of a network."""

from broker.orders.algorithm_card import AlgorithmCard
from worker.algorithms.decoders.embeddings import EmbeddingsDecoder
from worker.algorithms.decoders.interface import AnswerDecoder
from worker.algorithms.decoders.mask import MaskDecoder
from worker.algorithms.decoders.objects import ObjectsDecoder
from worker.algorithms.decoders.probabilities import Activation
from worker.algorithms.decoders.tiles import TilesDecoder
from worker.algorithms.model_folder.errors import algorithm_error
from worker.algorithms.output_settings import (
    EmbeddingsSettings,
    MaskSettings,
    ObjectsSettings,
    OutputSettings,
    TilesSettings,
)


def create_decoder(
    card: AlgorithmCard, settings: OutputSettings, activation: Activation, precision: str
) -> AnswerDecoder:
    """Return the decoder for the output of the card.

    `precision` is what the network computes in, as summaries state it. Raises ConfigError where the
    settings do not go with the classes of the card.
    """
    try:
        return _decoder(card, settings, activation, precision)
    except ValueError as error:
        raise algorithm_error(card.name, "model.json", str(error)) from None


def _decoder(
    card: AlgorithmCard, settings: OutputSettings, activation: Activation, precision: str
) -> AnswerDecoder:
    if isinstance(settings, TilesSettings):
        return TilesDecoder(card, settings, activation, precision)
    if isinstance(settings, ObjectsSettings):
        return ObjectsDecoder(card, settings, activation, precision)
    if isinstance(settings, EmbeddingsSettings):
        return EmbeddingsDecoder(card, settings, activation, precision)
    if isinstance(settings, MaskSettings):
        return MaskDecoder(card, settings, activation, precision)
    raise TypeError(f"a network for slides ({card.name}) is given no tiles")
