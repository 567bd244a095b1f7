"""Algorithms made of a torch module and a decoder of its answers, without a model folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from broker.orders.algorithm_card import AlgorithmCard, ClassCard
from worker.algorithms.decoders.interface import AnswerDecoder, Answers
from worker.algorithms.decoders.objects import ObjectsDecoder
from worker.algorithms.interface import TileAnswers
from worker.algorithms.output_settings import ObjectsSettings, OutputSettings
from worker.geometry.frame import Area, Frame, Pixels

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")


def a_class(name: str, number: int = 0, **changed: Any) -> ClassCard:
    return ClassCard(name=name, color=COLORS[number], annotation_type=name, **changed)


def a_card(*classes: ClassCard | str, **changed: Any) -> AlgorithmCard:
    """A card of objects in tiles of 32 px with 8 px around, at 0.5 um per pixel."""
    cards = tuple(
        entry if isinstance(entry, ClassCard) else a_class(entry, number)
        for number, entry in enumerate(classes)
    )
    usual: dict[str, Any] = {
        "name": "net",
        "version": "1",
        "digest": "0" * 64,
        "title": "Net",
        "description": "",
        "output": "objects",
        "mpp": 0.5,
        "tile_px": 32,
        "halo_px": 8,
        "tissue_only": False,
        "parameters": {},
    }
    return AlgorithmCard(classes=cards, **(usual | changed))


@dataclass
class DecodedNetwork:
    """A network that is given bytes as float32, (N, 3, E, E), and answers by role."""

    card: AlgorithmCard
    settings: OutputSettings
    run: Callable[[Tensor], Answers]
    decoder: AnswerDecoder
    batch_tiles: int = 4
    works_on: Literal["tiles"] = "tiles"

    def calibrate(self, samples: Pixels) -> "DecodedNetwork":
        return self

    def classify(self, batch: Pixels) -> TileAnswers:
        pixels = torch.tensor(batch).permute(0, 3, 1, 2).float()
        with torch.inference_mode():
            return self.decoder.decode(self.run(pixels), len(batch))

    def summarise(
        self, counts: Sequence[int], frame: Frame, area: Area
    ) -> tuple[dict[str, Any], str]:
        return self.decoder.summarise(counts, frame, area)


def an_objects_network(
    card: AlgorithmCard,
    settings: ObjectsSettings,
    run: Callable[[Tensor], Answers],
    activation: Any = "none",
    batch_tiles: int = 4,
) -> DecodedNetwork:
    decoder = ObjectsDecoder(card, settings, activation, "float32")
    return DecodedNetwork(card, settings, run, decoder, batch_tiles)
