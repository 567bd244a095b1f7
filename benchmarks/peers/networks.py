"""Two networks as folders of the WSInfer zoo, trained here in seconds: one that costs little, one as people use.

They tell how dark a tile is, in four steps. That takes no more than colours, but the weights are those of a trained
network: with random ones the answers hang on differences so small that half precision drowns them.
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
MEAN, STD = 0.5, 0.5
STEPS, BATCH, RATE = 80, 16, 4e-3  # of training
UNSURE: Final = 0.1  # label smoothing: keeps the logits small

# MobileNetV3-Small (Howard et al. 2019, table 2): kernel, expanded, out, squeeze, hard-swish, stride
_BLOCKS: Final = (
    (3, 16, 16, True, False, 2), (3, 72, 24, False, False, 2), (3, 88, 24, False, False, 1), (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1), (5, 240, 40, True, True, 1), (5, 120, 48, True, True, 1), (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2), (5, 576, 96, True, True, 1), (5, 576, 96, True, True, 1),
)  # fmt: skip


def save(name: str, folder: Path, samples: NDArray[np.uint8], seed: int = 0) -> None:
    """Write `config.json` and `torchscript_model.pt`; `samples` (N, 256, 256, 3) are what it learns from."""
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
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # TorchScript is old, and what the zoo holds
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
    """Which quarter of the samples each belongs to, the palest first."""
    paleness = samples.mean(axis=(1, 2, 3))
    return np.digitize(-paleness, np.quantile(-paleness, (0.25, 0.5, 0.75)))


def _train(network: nn.Sequential, inputs: Tensor, wanted: Tensor) -> None:
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(network.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=STEPS)
    for _ in range(STEPS):
        some = torch.randint(len(inputs), (BATCH,))
        optimiser.zero_grad()
        nn.functional.cross_entropy(
            network(inputs[some]), wanted[some], label_smoothing=UNSURE
        ).backward()
        optimiser.step()
        schedule.step()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0  # what is usual, of all samples at once
    with torch.no_grad():
        network(inputs)
    network.eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def _tiny() -> tuple[nn.Module, int]:
    """Three convolutions with large strides: less work than decoding the tile."""
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
    """Channels weighed by what is in all of them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(8, (channels // 4 + 4) // 8 * 8)
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1),
            nn.Hardsigmoid(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weigh(x)


class _Bottleneck(nn.Module):
    """Widened, filtered channel by channel, narrowed again."""

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
        activation: type[nn.Module] = nn.Hardswish if hard else nn.ReLU
        layers: list[nn.Module] = (
            []
            if expanded == inputs
            else [_convolution(inputs, expanded, 1, 1, activation=activation)]
        )
        layers.append(
            _convolution(expanded, expanded, kernel, stride, activation=activation, groups=expanded)
        )
        layers += [_Squeeze(expanded)] if squeeze else []
        self.body = nn.Sequential(*layers, _convolution(expanded, outputs, 1, 1))
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.is_residual else self.body(x)
