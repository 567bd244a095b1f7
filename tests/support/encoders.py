"""An encoder whose vectors anybody can compute, a network for slides, and slides for both."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from broker.orders.algorithm_card import AlgorithmCard, ClassCard
from worker.algorithms.networks.slide_network import Aggregator, SlideNetwork
from worker.algorithms.output_settings import EmbeddingsSettings, SlideSettings
from worker.algorithms.torch_device.device import resolve
from worker.geometry.frame import Area, Frame, Pixels
from worker.geometry.roi import size_mm2

EMBEDDINGS_CARD = AlgorithmCard(
    name="colours",
    version="1",
    digest="1" * 64,
    title="Mean colours",
    description="Answers the mean colour of a tile.",
    output="embeddings",
    mpp=0.5,
    tile_px=64,
    tissue_only=False,
    parameters={},
    classes=(),
)
SLIDE_CARD = EMBEDDINGS_CARD.model_copy(
    update={
        "name": "subtype",
        "output": "slide",
        "encoder": "colours",
        "measurements": ("attention", "attention_rank"),
        "classes": (
            ClassCard(name="red", color="#ff0000", annotation_type="red"),
            ClassCard(name="green", color="#00ff00", annotation_type="green"),
        ),
    }
)


class MeanColours:
    """The encoder: the vector of a tile is its mean red, green and blue, 0 to 255."""

    works_on = "tiles"
    batch_tiles = 4

    def __init__(self, card: AlgorithmCard = EMBEDDINGS_CARD, **settings: Any) -> None:
        self.card = card
        self.settings = EmbeddingsSettings(**settings)

    def calibrate(self, samples: Pixels) -> "MeanColours":
        return self

    def classify(self, batch: Pixels) -> NDArray[np.float32]:
        return batch.mean(axis=(1, 2)).astype(np.float32)

    def summarise(
        self, counts: Sequence[int], frame: Frame, area: Area
    ) -> tuple[dict[str, Any], str]:
        return {"area_mm2": size_mm2(area, frame), "precision": "float32"}, ""


class AttentionPooling(nn.Module):
    """Attends to a tile by its blue, and answers the mean of red and green so weighted.

    The attention is the weight, so it adds up to 1. `bag` is `1TD` or `TD`.
    """

    def __init__(self, bag: str = "1TD") -> None:
        super().__init__()
        self.is_batched = bag == "1TD"

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        bag = features
        if self.is_batched:
            bag = features[0]
        weights = torch.softmax(bag[:, 2] / 64, dim=0)
        scores = (weights[:, None] * bag[:, :2]).sum(dim=0) / 64
        return scores[None], weights


def by_role(network: nn.Module, *, with_attention: bool = True) -> Any:
    """The network as a function that answers by role, as the worker's runner makes one."""

    def run(*inputs: Tensor) -> dict[str, Tensor]:
        logits, attention = network(*inputs)
        return {"logits": logits, "attention": attention} if with_attention else {"logits": logits}

    return run


def a_slide_network(
    *, with_attention: bool = True, card: AlgorithmCard = SLIDE_CARD, **settings: Any
) -> SlideNetwork:
    """Mean colours, judged by attention."""
    own = SlideSettings(**settings)
    run = by_role(AttentionPooling(own.bag), with_attention=with_attention)
    aggregator = Aggregator(run, resolve("cpu"), own, "auto", len(card.classes))
    return SlideNetwork(card, own, MeanColours(), aggregator)


def colours_of_tiles(pixels: Pixels, edge: int) -> NDArray[np.float32]:
    """What the encoder answers for whole tiles of the picture, row by row, white beyond it."""
    height, width = pixels.shape[:2]
    rows, columns = -(-height // edge), -(-width // edge)
    canvas = np.full((rows * edge, columns * edge, 3), 255, np.uint8)
    canvas[:height, :width] = pixels
    blocks = canvas.reshape(rows, edge, columns, edge, 3)
    return blocks.mean(axis=(1, 3)).reshape(-1, 3).astype(np.float32)
