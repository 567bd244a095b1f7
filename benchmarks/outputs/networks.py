"""Writes a model folder for each kind of output, with a small network that finds something.

The networks take a millisecond for a tile, so that reading, decoding answers, merging and writing
are what is measured. Those of masks and objects separate the stains of the tissue and blur them at
a quarter of the resolution, so that nuclei become hundreds of parts in a tile.
"""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from broker.settings.config import AlgorithmSettings
from worker.algorithms.registry import Settings

MPP: Final = 0.5
CORE_PX: Final = 256
HALO_PX: Final = 32
DIMENSIONS: Final = 384
"""Numbers of an embedding, as small vision transformers answer."""
POOL: Final = 4
GROW_STEPS: Final = 4
"""So many pixels, at a quarter of the resolution, a label grows from its seed."""
PYTHON: Final = "python"
WEIGHTS: Final = ("tiles", "mask", "labels", "centres", "embeddings", "slide")
"""The algorithms of the kind `weights`; the folder of each has its name."""


class _Convolutions(nn.Module):
    """Three convolutions with large strides and random weights, always the same ones."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 8, stride=8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(32, outputs),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        scores: Tensor = self.layers(pixels)
        return scores


class _Stains(nn.Module):
    """Density of haematoxylin and of DAB, (N, 2, h/4, w/4), of pixels from 0 to 1."""

    def __init__(self) -> None:
        from skimage.color import hed_from_rgb

        super().__init__()
        columns = torch.tensor(hed_from_rgb[:, [0, 2]], dtype=torch.float32)
        self.separate = nn.Conv2d(3, 2, 1, bias=False)
        self.separate.weight = nn.Parameter(columns.t()[:, :, None, None].contiguous())
        self.pool = POOL  # TorchScript knows no variables of modules

    def forward(self, pixels: Tensor) -> Tensor:
        small = functional.avg_pool2d(pixels, self.pool)
        density = -torch.log(small.clamp(min=1 / 255))
        return functional.avg_pool2d(self.separate(density), 3, 1, 1)


class _Mask(nn.Module):
    """Logits (N, 3, h, w) of no stain, haematoxylin and DAB."""

    def __init__(self) -> None:
        super().__init__()
        self.stains = _Stains()
        self.scale = float(POOL)

    def forward(self, pixels: Tensor) -> Tensor:
        density = self.stains(pixels)
        nothing = torch.full_like(density[:, :1], 0.15)
        logits = 20 * torch.cat([nothing, density], dim=1)
        return functional.interpolate(logits, scale_factor=self.scale, mode="bilinear")


class _Centres(nn.Module):
    """Logits (N, 2, h, w) of the centres of haematoxylin and DAB nuclei."""

    def __init__(self) -> None:
        super().__init__()
        self.stains = _Stains()
        self.scale = float(POOL)

    def forward(self, pixels: Tensor) -> Tensor:
        logits = 6 * (self.stains(pixels) - 0.15)
        return functional.interpolate(logits, scale_factor=self.scale, mode="bilinear")


class _Labels(nn.Module):
    """A number for each pixel of a nucleus (N, h, w), 0 elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.stains = _Stains()
        self.scale = float(POOL)
        self.steps = GROW_STEPS

    def forward(self, pixels: Tensor) -> Tensor:
        density = self.stains(pixels).amax(dim=1, keepdim=True)
        smooth = functional.avg_pool2d(density, 3, 1, 1)
        inside = (density > 0.15).float()
        is_seed = (smooth == functional.max_pool2d(smooth, 7, 1, 3)).float() * inside
        count = inside.shape[2] * inside.shape[3]
        numbers = torch.arange(1, count + 1, dtype=torch.float32, device=pixels.device)
        labels = numbers.reshape(1, 1, inside.shape[2], inside.shape[3]) * is_seed
        for _ in range(self.steps):
            grown = functional.max_pool2d(labels, 3, 1, 1) * inside
            labels = torch.where(labels > 0, labels, grown)
        return functional.interpolate(labels, scale_factor=self.scale, mode="nearest")[:, 0]


class _Attention(nn.Module):
    """Attention pooling over the tiles of a slide: logits (1, 2) and attention (1, T)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.gate = nn.Sequential(nn.Linear(DIMENSIONS, 64), nn.Tanh(), nn.Linear(64, 1))
        self.head = nn.Linear(DIMENSIONS, 2)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.gate(features[0])[:, 0]
        weights = torch.softmax(scores, dim=0)
        pooled = (weights[:, None] * features[0]).sum(dim=0)
        logits: Tensor = self.head(pooled)
        return logits[None], scores[None]


_NUCLEI: Final[list[dict[str, Any]]] = [{"name": "haematoxylin"}, {"name": "dab"}]
_WITH_HALO: Final = {"input_px": CORE_PX + 2 * HALO_PX, "halo_px": HALO_PX}


def save(folder: Path) -> Settings:
    """Write a folder for each kind of output, and return the settings of all algorithms."""
    _save(
        folder / "tiles",
        _Convolutions(4),
        {"output": "tiles", "input_px": CORE_PX, "classes": ["a", "b", "c", "d"]},
    )
    mask_classes = [{"name": "nothing", "background": True}, *_NUCLEI]
    _save(folder / "mask", _Mask(), {"output": "mask", "classes": mask_classes, **_WITH_HALO})
    objects = {"output": "objects", **_WITH_HALO}
    _save(folder / "labels", _Labels(), {**objects, "style": "labels", "classes": ["nucleus"]})
    _save(folder / "centres", _Centres(), {**objects, "style": "centres", "classes": _NUCLEI})
    _save(
        folder / "embeddings",
        _Convolutions(DIMENSIONS),
        {"output": "embeddings", "input_px": CORE_PX, "classes": []},
    )
    head = {"output": "slide", "encoder": "../embeddings", "classes": ["benign", "malignant"]}
    outputs = {"logits": 0, "attention": 1}
    _save(folder / "slide", _Attention(), {**head, "outputs": outputs}, has_pixels=False)
    code = folder / PYTHON
    code.mkdir()
    shutil.copy(Path(__file__).with_name("python_model.py"), code / "model.py")
    shutil.copy(folder / "tiles" / "torchscript_model.pt", code)
    entries = {name: AlgorithmSettings(kind="weights", folder=folder / name) for name in WEIGHTS}
    entry = f"{code / 'model.py'}:Tiles"
    entries[PYTHON] = AlgorithmSettings(kind="python", entry=entry)
    return entries


def _save(
    folder: Path, network: nn.Module, description: dict[str, Any], *, has_pixels: bool = True
) -> None:
    folder.mkdir(parents=True)
    common: dict[str, Any] = {"slidelane": 1}
    if has_pixels:
        common["mpp"] = MPP
    (folder / "model.json").write_text(json.dumps({**common, **description}))
    with warnings.catch_warnings(), torch.inference_mode():
        # TorchScript is deprecated, but most networks are exchanged in it.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(network.eval()).save(str(folder / "torchscript_model.pt"))
