"""Model folders of an encoder and of networks for slides, whose answers anybody can compute."""

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.support.networks import a_model

EDGE = 64


class MeanColour(nn.Module):
    """The vector of a tile is its mean red, green and blue, 0 to 255."""

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.mean(dim=(2, 3)) * 255


class Gated(nn.Module):
    """A head as CLAM's: scores, their softmax, the class, raw attention (1, T), a dictionary less.

    Which class is decided by the red of the tile that is bluest by far.
    """

    def forward(self, bag: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        attention = bag[:, 2:3].t()
        weights = torch.softmax(attention, dim=1)
        logits = torch.mm(weights, bag)[:, :2] / 64
        return logits, torch.softmax(logits, dim=1), logits.argmax(dim=1), attention


class TakesOneSize(nn.Module):
    """A head that was traced with a constant in place of the number of tiles."""

    def forward(self, bag: Tensor) -> Tensor:
        return bag.reshape(1, 16 * 3)[:, :2]


def an_encoder(folder: Path, **keys: Any) -> Path:
    return a_model(folder, MeanColour(), output="embeddings", classes=[], edge=EDGE, **keys)


def a_head(folder: Path, module: nn.Module, bag: str = "TD", **keys: Any) -> Path:
    """A folder of a network for slides, scripted, so that the number of tiles stays free."""
    folder.mkdir(parents=True, exist_ok=True)
    description = {
        "slidelane": 1,
        "output": "slide",
        "encoder": "../colours",
        "bag": bag,
        "classes": ["LUAD", "LUSC"],
    }
    (folder / "model.json").write_text(json.dumps(description | keys))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        torch.jit.save(torch.jit.script(module.eval()), str(folder / "torchscript_model.pt"))
    return folder
