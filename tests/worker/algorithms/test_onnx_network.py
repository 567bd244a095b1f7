"""Networks in ONNX files: they answer what they answer elsewhere, and no name in them is trusted."""

import importlib.machinery
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from broker.settings.config import AlgorithmSettings, ConfigError
from tests.support.networks import Layers, a_model, loaded_model
from tests.support.slides import a_picture
from worker.algorithms import registry
from worker.algorithms.model_folder.onnx_file import external_files

BATCH = np.stack([a_picture(64, 64, seed) for seed in range(3)])


class Two(nn.Module):
    """Means of the channels, and ten times as much."""

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        means = pixels.mean(dim=(2, 3))
        return means, 10 * means


def exported(folder: Path, module: nn.Module, *, tiles: int = 0, **keys: Any) -> Path:
    """A folder with model.onnx for any number of tiles, or so many, and its model.json."""
    a_model(folder, Layers(), **keys)
    (folder / "torchscript_model.pt").unlink()
    dynamic = {"pixels": {0: "tiles"}, "first": {0: "tiles"}, "second": {0: "tiles"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            (torch.zeros(max(1, tiles), 3, 64, 64),),
            str(folder / "model.onnx"),
            input_names=["pixels"],
            output_names=["first", "second"][: 1 + isinstance(module, Two)],
            dynamic_axes={} if tiles else dynamic,
            dynamo=False,
        )
    return folder


def answered(model: Any) -> Any:
    return model.calibrate(BATCH[:0]).classify(BATCH)


def test_it_answers_what_the_same_network_answers_elsewhere(tmp_path: Path) -> None:
    """With any number of tiles."""
    onnx_answers = answered(loaded_model(exported(tmp_path / "a", Layers())))
    torch_answers = answered(loaded_model(a_model(tmp_path / "b", Layers())))
    assert onnx_answers == pytest.approx(torch_answers, abs=1e-5)


def test_a_fixed_batch_is_filled_up(tmp_path: Path) -> None:
    """Without `batch` the reason says which number it takes."""
    fixed = exported(tmp_path / "a", Layers(), tiles=4, batch=4)
    torch_answers = answered(loaded_model(a_model(tmp_path / "b", Layers())))
    assert answered(loaded_model(fixed)) == pytest.approx(torch_answers, abs=1e-5)
    with pytest.raises(ConfigError, match=r"takes 4 tiles at a time: .batch.: 4"):
        loaded_model(exported(tmp_path / "c", Layers(), tiles=4))


@pytest.mark.parametrize("place", [1, "second"])
def test_a_role_is_a_name_or_a_number(tmp_path: Path, place: int | str) -> None:
    """The order is that of the file's outputs."""
    folder = exported(tmp_path / "a", Two(), outputs={"logits": place})
    powers = np.exp(10 * (BATCH / 255).mean(axis=(1, 2)))
    expected = powers / powers.sum(axis=1, keepdims=True)
    assert answered(loaded_model(folder)) == pytest.approx(expected, abs=1e-4)
    with pytest.raises(ConfigError, match="a dictionary of 'first', 'second'"):
        loaded_model(exported(tmp_path / "b", Two(), outputs={"logits": "third"}))


def with_external_weights(folder: Path, location: str) -> Path:
    """Move the weights of model.onnx into a file beside it, and state this name for it."""
    model = onnx.load(folder / "model.onnx")
    onnx.save(
        model,
        folder / "model.onnx",
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location="weights.bin",
        size_threshold=0,
    )
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder


def test_weights_may_lie_in_a_file_of_the_folder(tmp_path: Path) -> None:
    """Then that file is a part of the digest, and is watched."""
    folder = with_external_weights(exported(tmp_path / "a", Layers()), "weights.bin")
    assert external_files(folder / "model.onnx") == (folder / "weights.bin",)
    torch_answers = answered(loaded_model(a_model(tmp_path / "b", Layers())))
    assert answered(loaded_model(folder)) == pytest.approx(torch_answers, abs=1e-5)
    entry = AlgorithmSettings(kind="weights", folder=folder)
    before = registry.card("net", entry).digest
    content = bytearray((folder / "weights.bin").read_bytes())
    content[0] ^= 1
    (folder / "weights.bin").write_bytes(content)
    assert registry.card("net", entry).digest != before


@pytest.mark.parametrize("location", ["/etc/passwd", "../secret.bin", "link.bin", "a\0b", "gone"])
def test_weights_of_another_folder_are_refused(tmp_path: Path, location: str) -> None:
    """Any file of the machine would become a weight, and a result would tell it."""
    (tmp_path / "secret.bin").write_bytes(bytes(10**5))
    folder = exported(tmp_path / "a", Layers())
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    with_external_weights(folder, location)
    with pytest.raises(ConfigError, match=r"net: model.json: model.onnx names weights in '"):
        loaded_model(folder)


def test_weights_hidden_in_a_branch_are_found(tmp_path: Path) -> None:
    """Tensors lie in nodes, graphs inside of nodes and functions too."""
    tensor = onnx.TensorProto(data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/hostname")
    inner = onnx.GraphProto(initializer=[tensor])
    attribute = onnx.AttributeProto(name="body", g=inner, type=onnx.AttributeProto.GRAPH)
    node = onnx.NodeProto(op_type="If", attribute=[attribute])
    model = onnx.ModelProto(functions=[onnx.FunctionProto(name="f", node=[node])])
    file = tmp_path / "model.onnx"
    file.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="'/etc/hostname', which is not in its folder"):
        external_files(file)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x3a\xff\xff\xff\xff\x0f", b"\x3b", b"\x3a\x02\x08", bytes(100)]
)
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """Whether our own look or onnxruntime notices it."""
    folder = exported(tmp_path / "a", Layers())
    (folder / "model.onnx").write_bytes(content)
    with pytest.raises(ConfigError, match=r"net: model\.(json|onnx): "):
        loaded_model(folder)


def test_an_operator_of_somebody_else_is_refused(tmp_path: Path) -> None:
    """It would need a library of its own, and none is loaded."""
    folder = exported(tmp_path / "a", Layers())
    model = onnx.load(folder / "model.onnx")
    model.graph.node[0].domain = "com.example"
    model.opset_import.add(domain="com.example", version=1)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ConfigError, match=r"net: model.onnx: does not run: "):
        loaded_model(folder)


def test_a_machine_without_onnxruntime_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other networks need none of it."""
    folder = exported(tmp_path / "a", Layers())
    found = importlib.machinery.PathFinder.find_spec

    def find_spec(name: str, *rest: Any) -> Any:
        if name == "onnxruntime":
            return None
        return found(name, *rest)

    monkeypatch.delitem(__import__("sys").modules, "onnxruntime", raising=False)
    monkeypatch.setattr(importlib.machinery.PathFinder, "find_spec", find_spec)
    with pytest.raises(ConfigError, match=r"model.onnx: does not run: .*slidelane\[onnx\]"):
        loaded_model(folder)


def test_the_description_is_that_of_any_network(tmp_path: Path) -> None:
    """An ONNX file may be named, and lies beside others."""
    folder = exported(tmp_path / "a", Layers())
    (folder / "model.onnx").rename(folder / "net.onnx")
    description = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(description | {"file": "net.onnx"}))
    assert answered(loaded_model(folder)).shape == (3, 3)
