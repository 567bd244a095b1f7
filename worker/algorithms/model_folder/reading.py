"""Reads a model folder: the description of a network, checked, and where the network is.

model.json is ours; config.json is that of WSInfer's model zoo, and is read where there is no
model.json. Loads no torch.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from broker.orders.report_type import check_report
from broker.orders.stains import KNOWN_STAINS, stain_name
from worker.algorithms.model_folder.errors import KeyedError, algorithm_error, first_problem
from worker.algorithms.model_folder.geometry import check_geometry
from worker.algorithms.model_folder.model_file import (
    MODELS,
    AnyModel,
    EmbeddingsModel,
    ObjectsModel,
    SlideModel,
    TilesModel,
)
from worker.algorithms.model_folder.parameters import order_keys
from worker.algorithms.model_folder.roles import check_roles
from worker.algorithms.model_folder.wsinfer import keys_of_config, with_our_keys

OURS: Final = "model.json"
WSINFER: Final = "config.json"
DEFAULT_FILES: Final = (
    "torchscript_model.pt",
    "model.ts",
    "model.pt2",
    "model.onnx",
    "instanseg.pt",
)
_MOST_BYTES: Final = 10**6
_MOST_WATCHED: Final = 100


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model folder: its description, as bytes and read, and the network's file."""

    path: Path
    described_in: str
    """`model.json` or `config.json`."""
    description: bytes
    model: AnyModel
    network: Path
    encoders: Mapping[str, Path] = field(default_factory=dict)
    """Folders of the encoders that a network for slides may name."""


def read_folder(name: str, path: Path, encoders: Mapping[str, Path] | None = None) -> ModelFolder:
    """Return what is in the model folder of the algorithm `name`, without loading the network.

    `encoders` are the folders of the encoders that a network for slides may name.

    Raises ConfigError, which names file and key, where something is missing or cannot work.
    """
    described_in = _description_file(name, path)
    try:
        description = _limited_bytes(path / described_in)
        model = _model(_json_object(description), described_in)
        network = _network_file(path, described_in, model)
    except ValidationError as error:
        raise algorithm_error(name, described_in, first_problem(error)) from None
    except (OSError, ValueError) as error:
        raise algorithm_error(name, described_in, str(error)) from None
    return ModelFolder(path, described_in, description, model, network, encoders or {})


def watched_files(path: Path, encoders: Mapping[str, Path] | None = None) -> tuple[Path, ...]:
    """Return the files whose change changes the algorithm, whether they are there or not.

    Of a folder that cannot be read, the files that a folder usually has. `encoders` are the folders
    of the encoders that a network for slides may name; those of its own are watched too.
    """
    raw = _readable_object(path / OURS)
    files = _own_files(path, raw)
    encoder = raw.get("encoder")
    folder = None
    if isinstance(encoder, str) and encoder and "\0" not in encoder:
        folder = path / encoder
    elif isinstance(encoder, dict) and encoders:
        folder = encoders.get(str(encoder.get("algorithm")))
    if folder is not None and folder != path:
        files += _own_files(folder, _readable_object(folder / OURS))
    return tuple(files)


def _own_files(path: Path, raw: Mapping[str, Any]) -> list[Path]:
    """Return the files of one folder, whose model.json holds `raw`."""
    files = [path / OURS, path / WSINFER]
    files += [path / name for name in DEFAULT_FILES]
    named = raw.get("file")
    if isinstance(named, str) and named and "\0" not in named:
        files.append(path / named)
    if any(file.suffix == ".onnx" and file.is_file() for file in files):
        files += sorted(path.iterdir())[:_MOST_WATCHED]  # its weights may lie in any of them
    return files


def _readable_object(file: Path) -> dict[str, Any]:
    """Return the JSON object of a file, or an empty one where it cannot be read."""
    try:
        return _json_object(_limited_bytes(file))
    except (OSError, ValueError):
        return {}


def encoder_folder(folder: ModelFolder) -> Path | None:
    """Return the folder of the network that a slide's network needs; None for another output.

    Raises ValueError where it is not inside this folder or beside it, or the algorithm that it
    names is not known.
    """
    model = folder.model
    if not isinstance(model, SlideModel):
        return None
    if not isinstance(model.encoder, str):
        return _named_encoder(model.encoder.algorithm, folder)
    own = folder.path.resolve()
    encoder = (folder.path / model.encoder).resolve()
    if encoder == own or not (encoder.is_relative_to(own) or encoder.parent == own.parent):
        raise KeyedError("encoder", "a folder inside this one or beside it is needed")
    if not encoder.is_dir():
        raise KeyedError("encoder", f"there is no folder {model.encoder!r}")
    return encoder


def _named_encoder(algorithm: str, folder: ModelFolder) -> Path:
    path = folder.encoders.get(algorithm)
    if path is None:
        known = ", ".join(sorted(folder.encoders)) or "none"
        raise KeyedError(
            "encoder",
            f"there is no algorithm {algorithm!r} of kind weights; others of this worker: {known}",
        )
    if not path.is_dir():
        raise KeyedError("encoder", f"the algorithm {algorithm!r} has no folder")
    found: Path = path.resolve()
    return found


def _description_file(name: str, path: Path) -> str:
    for file in (OURS, WSINFER):
        if (path / file).is_file():
            return file
    if not path.is_dir():
        raise algorithm_error(name, OURS, f"there is no folder {path}")
    raise algorithm_error(name, OURS, f"No such file in the folder {path}, and no {WSINFER} either")


def _limited_bytes(file: Path) -> bytes:
    with file.open("rb") as content:
        document = content.read(_MOST_BYTES + 1)
    if len(document) > _MOST_BYTES:
        raise ValueError(f"it is larger than {_MOST_BYTES} bytes")
    return document


def _json_object(document: bytes) -> dict[str, Any]:
    try:
        raw = json.loads(document.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(raw, dict):
        raise ValueError("a JSON object is needed")  # noqa: TRY004 - of a file, not of an argument
    return raw


def _model(raw: dict[str, Any], described_in: str) -> AnyModel:
    """Return the checked content of a model file. Raises ValidationError and KeyedError."""
    if described_in == WSINFER:
        raw = keys_of_config(raw)
    else:
        raw = {key: value for key, value in raw.items() if not key.startswith("x_")}
    if raw.get("slidelane") is None and raw.get("spec_version") is None:
        raise KeyedError("slidelane", "1 is needed: the version of this format")
    output = raw.get("output", "tiles")
    if not isinstance(output, str) or output not in MODELS:
        raise KeyedError("output", f"one of {', '.join(MODELS)} is needed")
    model = MODELS[output].model_validate(with_our_keys(raw))
    _check(model)
    return model


def _check(model: AnyModel) -> None:
    """Raise ValueError, which begins with the key, where keys contradict each other."""
    names = [entry.name for entry in model.classes]
    _check_classes(model, names)
    _check_activation(model)
    check_roles(model)
    check_report(model.report, model.output, names)
    order_keys(model)
    if isinstance(model, SlideModel):
        _check_scope(model)
    else:
        check_geometry(model)
    for stain in model.stains:
        if stain_name(stain) is None:
            raise KeyedError(
                "stains", f"no stain {stain!r} is known; there are: {', '.join(KNOWN_STAINS)}"
            )


def _check_classes(model: AnyModel, names: list[str]) -> None:
    if isinstance(model, EmbeddingsModel):
        if names:
            raise KeyedError("classes", "a network that answers embeddings has none")
        return
    if not names:
        raise KeyedError("classes", "at least one is needed")
    if not isinstance(model, ObjectsModel):
        return
    for layer in model.layers:
        if layer not in names:
            raise KeyedError("layers", f"there is no class {layer!r}")


def _check_activation(model: AnyModel) -> None:
    """Raise KeyedError for an activation that cannot make such probabilities."""
    count = len(model.classes)
    if isinstance(model, EmbeddingsModel):
        if model.activation not in ("auto", "none"):
            raise KeyedError("activation", "embeddings are no probabilities; leave it out")
        return
    if not isinstance(model, TilesModel):
        return
    unfit = "sigmoid"
    if count == 1 or model.multi_label:
        unfit = "softmax"
    if model.activation == unfit:
        raise KeyedError(
            "activation",
            f"{model.activation} does not fit {count} classes: softmax makes probabilities of "
            "several that add up to 1, sigmoid those of one, or of each with multi_label",
        )


def _check_scope(model: SlideModel) -> None:
    """Raise KeyedError for a bag of several slides whose network needs their coordinates."""
    if model.scope == "case" and set(model.inputs) != {"features"}:
        raise KeyedError(
            "inputs",
            "with scope case there are features alone: coordinates are those of one slide, and "
            "tiles of several slides would lie on one another",
        )


def _network_file(path: Path, described_in: str, model: AnyModel) -> Path:
    """Return the file of the network. Raises ValueError where there is none."""
    if model.file is not None:
        if "\0" in model.file or ".." in Path(model.file).parts or Path(model.file).is_absolute():
            raise KeyedError("file", "a name inside of the folder is needed")
        file = path / model.file
        if not file.is_file():
            raise KeyedError("file", f"there is no file {model.file!r} in the folder")
        _check_is_inside(path, file)
        return file
    for name in DEFAULT_FILES:
        file = path / name
        if file.is_file():
            if described_in == OURS:
                _check_is_inside(path, file)
            return file
    raise KeyedError(
        "file",
        f"the folder holds none of {', '.join(DEFAULT_FILES)}; "
        "safetensors without their code cannot be run",
    )


def _check_is_inside(path: Path, file: Path) -> None:
    if not file.resolve().is_relative_to(path.resolve()):
        raise KeyedError("file", f"{file.name} is a link that leads out of the folder")
