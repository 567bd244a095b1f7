"""Trains two networks in seconds: one that costs little, and one of a usual size.

They are written as folders of the WSInfer zoo. They tell how dark a tile is, in four steps. Colours
are enough for that, but trained weights are needed: with random ones the probabilities differ so
little that half precision changes the class.
"""

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

CLASSES: Final = ("palest", "paler", "darker", "darkest")
PATCH_PX: Final = 256
SPACING_UM_PX: Final = 0.5
MEAN = 0.5
STD = 0.5
TRAINING_STEPS = 80
BATCH = 16
LEARNING_RATE = 4e-3
LABEL_SMOOTHING: Final = 0.1
"""Keeps the logits small."""

# MobileNetV3-Small (Howard et al. 2019, table 2):
# kernel, expanded, out, squeeze, hard-swish, stride
_BLOCKS: Final = (
    (3, 16, 16, True, False, 2),
    (3, 72, 24, False, False, 2),
    (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1),
    (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1),
    (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2),
    (5, 576, 96, True, True, 1),
    (5, 576, 96, True, True, 1),
)


def save(name: str, folder: Path, samples: NDArray[np.uint8], seed: int = 0) -> None:
    """Write `config.json` and `torchscript_model.pt`, trained on `samples` (N, 256, 256, 3)."""
    torch.manual_seed(seed)
    body, features = NETWORKS[name]()
    network = nn.Sequential(
        body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, len(CLASSES))
    )
    inputs = (
        (torch.from_numpy(samples).permute(0, 3, 1, 2).float() / 255 - MEAN) / STD
    ).contiguous(memory_format=torch.channels_last)
    _train(network, inputs, torch.from_numpy(_quarters(samples)))
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(), torch.inference_mode():
        # TorchScript is deprecated, but the zoo uses it.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(network, inputs[:2]).save(str(folder / "torchscript_model.pt"))
    (folder / "config.json").write_text(json.dumps(_config(name), indent=2))


def _config(name: str) -> dict[str, object]:
    normalise = {"name": "Normalize", "arguments": {"mean": [MEAN] * 3, "std": [STD] * 3}}
    return {
        "spec_version": "1.0",
        "architecture": name,
        "num_classes": len(CLASSES),
        "class_names": CLASSES,
        "patch_size_pixels": PATCH_PX,
        "spacing_um_px": SPACING_UM_PX,
        "transform": [{"name": "ToTensor"}, normalise],
    }


def _quarters(samples: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the quarter of each sample, 0 for the palest."""
    paleness = samples.mean(axis=(1, 2, 3))
    return np.digitize(-paleness, np.quantile(-paleness, (0.25, 0.5, 0.75)))


def _train(network: nn.Sequential, inputs: Tensor, labels: Tensor) -> None:
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, LEARNING_RATE, total_steps=TRAINING_STEPS
    )
    for _ in range(TRAINING_STEPS):
        some = torch.randint(len(inputs), (BATCH,))
        optimiser.zero_grad()
        nn.functional.cross_entropy(
            network(inputs[some]), labels[some], label_smoothing=LABEL_SMOOTHING
        ).backward()
        optimiser.step()
        schedule.step()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            # Take the statistics of the next batch, which holds all samples.
            layer.momentum = 1.0
    with torch.no_grad():
        network(inputs)
    network.eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def _tiny() -> tuple[nn.Module, int]:
    """Return three convolutions with large strides: less work than decoding the tile."""
    layers = [
        nn.Conv2d(3, 8, 8, stride=8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1),
    ]
    return nn.Sequential(*layers, nn.ReLU()), 32


def _mobile() -> tuple[nn.Module, int]:
    layers: list[nn.Module] = [_convolution(3, 16, 3, 2, activation=nn.Hardswish)]
    inputs = 16
    for kernel, expanded, outputs, squeeze, hard, stride in _BLOCKS:
        layers.append(
            _Bottleneck(
                inputs, kernel, expanded, outputs, squeeze=squeeze, hard=hard, stride=stride
            )
        )
        inputs = outputs
    return nn.Sequential(*layers, _convolution(inputs, 576, 1, 1, activation=nn.Hardswish)), 576


NETWORKS: Final[Mapping[str, Callable[[], tuple[nn.Module, int]]]] = {
    "tiny-cnn": _tiny,
    "mobilenet-v3-small": _mobile,
}


def _convolution(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int,
    *,
    activation: type[nn.Module] = nn.Identity,
    groups: int = 1,
) -> nn.Sequential:
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), activation())


class _Squeeze(nn.Module):
    """Squeeze and excitation: weighs channels by the mean of every channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(8, (channels // 4 + 4) // 8 * 8)
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(),
            nn.Conv2d(hidden, channels, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weigh(x)


class _Bottleneck(nn.Module):
    """An inverted bottleneck: expand, filter each channel, and project."""

    def __init__(
        self,
        inputs: int,
        kernel: int,
        expanded: int,
        outputs: int,
        *,
        squeeze: bool,
        hard: bool,
        stride: int,
    ) -> None:
        super().__init__()
        activation: type[nn.Module] = nn.ReLU
        if hard:
            activation = nn.Hardswish
        layers: list[nn.Module] = []
        if expanded != inputs:
            layers.append(_convolution(inputs, expanded, 1, 1, activation=activation))
        layers.append(
            _convolution(expanded, expanded, kernel, stride, activation=activation, groups=expanded)
        )
        if squeeze:
            layers.append(_Squeeze(expanded))
        self.body = nn.Sequential(*layers, _convolution(expanded, outputs, 1, 1))
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        if self.is_residual:
            return x + self.body(x)
        return self.body(x)
