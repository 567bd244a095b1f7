"""Networks of masks whose right answer is known: the class of a pixel is its colour."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from worker.geometry.frame import Pixels

CLASSES = [
    {"name": "other", "background": True},
    {"name": "gland", "color": "#009e73"},
    {"name": "tumor", "color": "#d55e00"},
]
GLAND = (0, 255, 0)
TUMOR = (255, 0, 0)
OTHER = (0, 0, 0)


class ColourClasses(nn.Module):
    """Scores 20 for the class of a pixel's colour; red is tumour, green is gland.

    A pixel is answered by the middle one of each `stride` x `stride` pixels, and the answer lacks
    `crop` pixels on each side, as without padding.
    """

    def __init__(self, crop: int = 0, stride: int = 1) -> None:
        super().__init__()
        self.crop = crop
        self.stride = stride

    def forward(self, batch: Tensor) -> Tensor:
        edge = batch.shape[-1]
        inner = batch[:, :, self.crop : edge - self.crop, self.crop : edge - self.crop]
        seen = inner[:, :, :: self.stride, :: self.stride]
        tumor = seen[:, 0] - seen[:, 1]
        gland = seen[:, 1] - seen[:, 0]
        other = 0.5 - torch.maximum(seen[:, 0], seen[:, 1])
        return 20 * torch.stack([other, gland, tumor], dim=1)


class Redness(nn.Module):
    """How red a pixel is, 0 to 1, as the probability of the only class: (N, h, w)."""

    def forward(self, batch: Tensor) -> Tensor:
        return batch[:, 0]


class ClassNumbers(ColourClasses):
    """The same as numbers of classes, (N, 1, h, w)."""

    def forward(self, batch: Tensor) -> Tensor:
        return super().forward(batch).argmax(dim=1, keepdim=True).to(torch.uint8)


def mask_folder(folder: Path, module: nn.Module, **changed: Any) -> Path:
    """A model folder of a network for tiles of 64 px at 1 um."""
    folder.mkdir(parents=True)
    usual = {"slidelane": 1, "output": "mask", "mpp": 1.0, "input_px": 64, "classes": CLASSES}
    described = usual | {"tissue_only": False} | changed
    (folder / "model.json").write_text(json.dumps(described))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript
        edge = described["input_px"]
        traced = torch.jit.trace(module.eval(), torch.zeros(1, 3, edge, edge), check_trace=False)
        torch.jit.save(traced, str(folder / "torchscript_model.pt"))
    return folder


def painted_map(pixels: np.ndarray) -> Pixels:
    """The colours of class numbers (H, W)."""
    return np.array([OTHER, GLAND, TUMOR], np.uint8)[pixels]
