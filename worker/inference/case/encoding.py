"""Encodes one scan of a case: its vectors are stored, and nobody is asked for a class yet."""

from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np

from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.order import Order
from worker.algorithms.interface import SlideAlgorithm, TileAlgorithm, TileClassifier
from worker.algorithms.output_settings import EmbeddingsSettings
from worker.geometry.frame import Pixels
from worker.results import png
from worker.results.object_store import ObjectStore
from worker.results.result import Result

PICTURE: Final = "picture.png"
"""The picture of the area in the result of an encoded scan: whoever judges the case draws on it,
maybe on a machine that does not have the slide."""


class CaseEncoder:
    """The encoder of a network that judges cases: it answers a vector for each tile."""

    works_on: Literal["tiles"] = "tiles"

    def __init__(self, algorithm: SlideAlgorithm) -> None:
        self.card = encoded_card(algorithm.card)
        self.batch_tiles = algorithm.batch_tiles
        self._algorithm = algorithm

    @property
    def settings(self) -> EmbeddingsSettings:
        """How the answers become vectors."""
        return self._algorithm.encoder_settings

    def calibrate(self, samples: Pixels) -> TileClassifier:
        """Return the encoder, set up for the scan."""
        return self._algorithm.calibrate(samples)


def encoded_card(card: AlgorithmCard) -> AlgorithmCard:
    """Return the card of a scan that is encoded for its case, which has no class yet."""
    return card.model_copy(update={"output": "embeddings", "classes": (), "measurements": ()})


def is_encoded(card: AlgorithmCard) -> bool:
    """Return whether a result with this card is that of a scan that waits for its case."""
    return card.scope == "case" and card.output == "embeddings"


def part_for(algorithm: TileAlgorithm, order: Order) -> TileAlgorithm:
    """Return what runs on one scan of the order: the algorithm, or, of a case, its encoder alone.

    The only scan of an order is a case of its own.
    """
    if algorithm.card.scope == "scan" or len(order.request.scans) == 1:
        return algorithm
    if not isinstance(algorithm, SlideAlgorithm):
        raise TypeError(f"{algorithm.card.name} is no network for slides")
    return CaseEncoder(algorithm)


def with_picture(result: Result, picture: Pixels) -> Result:
    """Return the result of an encoded scan with the picture of its area, (H, W, 3), as a file.

    Its headline says that the case is not judged yet.
    """
    objects = result.findings.objects
    if not isinstance(objects, ObjectStore):
        raise TypeError("the tiles of a scan are in a store")
    file = objects.folder.with_name(PICTURE)
    file.write_bytes(png.encode(picture))
    headline = f"{result.findings.headline}; the case is not judged yet"
    findings = replace(result.findings, headline=headline)
    return replace(result, findings=findings, files={**result.files, PICTURE: file})


def read_picture(folder: Path) -> Pixels:
    """Return the picture in the result of an encoded scan. Raises ValueError where it is damaged.

    Raises OSError where there is none.
    """
    decoded = cv2.imdecode(np.fromfile(folder / PICTURE, np.uint8), cv2.IMREAD_COLOR_RGB)
    if decoded is None:
        raise ValueError("it cannot be decoded")
    return np.asarray(decoded)
