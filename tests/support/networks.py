"""Small networks made by the tests, in folders as WSInfer's zoo has them."""

import io
import json
import os
import shutil
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from broker.settings.config import AlgorithmSettings
from worker.algorithms import registry
from worker.inference.parallel_tiles import MAX_BATCH_BYTES

CLASSES = ("background", "tumour", "stroma")
TRANSFORM: list[dict[str, Any]] = [
    {"name": "Resize", "arguments": {"size": 64}},
    {"name": "ToTensor"},
    {"name": "Normalize", "arguments": {"mean": [0.7, 0.6, 0.7], "std": [0.2, 0.25, 0.2]}},
]


class Redness(nn.Module):
    """Scores that anybody can compute: the mean of each normalised channel, ten times."""

    def forward(self, pixels: Tensor) -> Tensor:
        return 10 * pixels.mean(dim=(2, 3))


class Layers(nn.Sequential):
    """A few layers with random weights, always the same ones."""

    def __init__(self) -> None:
        torch.manual_seed(3)
        super().__init__(
            nn.Conv2d(3, 8, 5, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
        )


class Answers(nn.Module):
    """Answers so many numbers for each tile: the mean of all pixels, in a shape of its own.

    `kind`: `logits` in shape (N, outputs); `maps` with two dimensions of length 1 more; `flat`
    without the second dimension; `integers`; `nan`; `bright`, which is infinite for tiles with
    pixels above the mean; `one` row for all tiles.
    """

    def __init__(self, outputs: int, kind: str = "logits") -> None:
        super().__init__()
        self.outputs = outputs
        self.kind = kind

    def forward(self, pixels: Tensor) -> Tensor:
        means = pixels.mean(dim=(1, 2, 3)).unsqueeze(1)
        logits = means * torch.arange(1, self.outputs + 1, dtype=pixels.dtype)
        if self.kind == "maps":
            logits = logits.unsqueeze(2).unsqueeze(3)
        if self.kind == "flat":
            logits = logits.squeeze(1)
        if self.kind == "integers":
            logits = logits.to(torch.int64)
        if self.kind == "nan":
            logits = logits * float("nan")
        if self.kind == "bright":
            logits = logits * torch.exp(1000 * torch.clamp(means, min=0))
        if self.kind == "one":
            logits = logits.mean(dim=0, keepdim=True)
        return logits


class Ends(nn.Module):
    """Layers that end in an activation: `softmax`, `sigmoid`, or `log_softmax`."""

    def __init__(self, activation: str) -> None:
        super().__init__()
        self.layers = Layers()
        self.activation = activation

    def forward(self, pixels: Tensor) -> Tensor:
        scores = 20 * self.layers(pixels)
        if self.activation == "softmax":
            return torch.softmax(scores, dim=1)
        if self.activation == "sigmoid":
            return torch.sigmoid(scores)
        return torch.log_softmax(scores, dim=1)


class RunsCode:
    """Makes the folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self._folder),)


def pickled(content: object) -> bytes:
    """What torch.save writes of it."""
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def change_records(archive: Path, changed: dict[str, bytes]) -> None:
    """Replace or add records of a zip archive, by their names in its folder."""
    before = archive.with_suffix(".before")
    shutil.move(archive, before)
    with zipfile.ZipFile(before) as old, zipfile.ZipFile(archive, "w") as new:
        root = old.namelist()[0].partition("/")[0]
        own = {f"{root}/{name}": content for name, content in changed.items()}
        for name in old.namelist():
            if name not in own:
                new.writestr(name, old.read(name))
        for name, content in own.items():
            new.writestr(name, content)


def a_config(**changed: Any) -> dict[str, Any]:
    """What describes a network of 64 px tiles that were 128 px of 0.25 um."""
    config = {
        "spec_version": "1.0",
        "architecture": "redness",
        "num_classes": 3,
        "class_names": CLASSES,
    }
    return (
        config | {"patch_size_pixels": 128, "spacing_um_px": 0.25, "transform": TRANSFORM} | changed
    )


def a_network(folder: Path, module: nn.Module | None = None, **changed: Any) -> Path:
    """A folder with a TorchScript network and its config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(a_config(**changed)))
    edge = 64
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # of TorchScript; the zoo's networks are
        traced = torch.jit.trace((module or Redness()).eval(), torch.zeros(1, 3, edge, edge))
        torch.jit.save(traced, str(folder / "torchscript_model.pt"))
    return folder


def an_exported_network(folder: Path, module: nn.Module | None = None, **changed: Any) -> Path:
    """The same as torch.export leaves it, for any number of tiles."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(a_config(**changed)))
    batch = torch.export.Dim("batch", min=1, max=1024)
    exported = torch.export.export(
        (module or Redness()).eval(), (torch.zeros(2, 3, 64, 64),), dynamic_shapes=[{0: batch}]
    )
    torch.export.save(exported, folder / "model.pt2")
    return folder


def a_model(
    folder: Path, module: nn.Module, *, scripted: bool = False, edge: int = 64, **keys: Any
) -> Path:
    """A folder with a TorchScript network and its model.json: of tiles at 0.5 um, unless told."""
    folder.mkdir(parents=True, exist_ok=True)
    description = {"slidelane": 1, "mpp": 0.5, "input_px": edge, "classes": list(CLASSES)}
    (folder / "model.json").write_text(json.dumps(description | keys))
    save_script(module, folder / "torchscript_model.pt", scripted=scripted, edge=edge)
    return folder


def save_script(
    module: nn.Module,
    file: Path,
    *,
    scripted: bool = False,
    edge: int = 64,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Save the network as TorchScript."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated; traces warn of constants
        if scripted:
            script = torch.jit.script(module.eval())
        else:
            script = torch.jit.trace(module.eval(), torch.zeros(1, 3, edge, edge, dtype=dtype))
        torch.jit.save(script, str(file))


def loaded_model(folder: Path, device: str = "cpu", **settings: Any) -> Any:
    """The algorithm `net` of this folder."""
    entries = {"net": AlgorithmSettings(kind="weights", folder=folder, **settings)}
    return registry.load("net", entries, {}, device, max_batch_bytes=MAX_BATCH_BYTES)
