"""Reads a folder with a trained network and its config.json, in the format of WSInfer's model zoo.

The format: https://github.com/SBU-BMI/wsinfer-zoo, `config.json` of spec_version "1.0". The network
is `torchscript_model.pt`, or `model.pt2` as torch.export writes it. Loads no torch.
"""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from broker.orders.algorithm_card import AlgorithmCard, ClassCard
from broker.settings.config import AlgorithmSettings, ConfigError
from worker.algorithms.builtin_cards import NoParameters, StainParameters, schema

FILES: Final = ("torchscript_model.pt", "model.pt2")
# Distinct for colour-blind people: Okabe and Ito, "Color Universal Design" (2008). Then darker
# ones.
_COLORS: Final = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#f0e442",
    "#5b3a8c",
    "#8c3a3a",
)
_MOST_CLASSES: Final = 1000
Activation = Literal["softmax", "sigmoid", "none"]
"""What is applied to a network's answers; `none` for one that answers probabilities."""
_Three = tuple[float, float, float]
_Edge = Annotated[int, Field(ge=1, le=4096)]


class _Shape(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", allow_inf_nan=False, hide_input_in_errors=True
    )


class _Resize(_Shape):
    size: _Edge | tuple[_Edge, _Edge]


class _Normalize(_Shape):
    mean: _Three
    std: _Three


class _Step(_Shape):
    name: Literal["Resize", "ToTensor", "Normalize"]
    arguments: dict[str, Any] | None = None


class Description(_Shape):
    """The content of config.json: the tiles that the network takes, and its classes."""

    spec_version: Literal["1.0"]
    architecture: str = Field("", max_length=200)
    num_classes: int = Field(ge=1, le=_MOST_CLASSES)
    class_names: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...]
    patch_size_pixels: _Edge
    spacing_um_px: float = Field(gt=0.01, le=100)
    transform: tuple[_Step, ...]
    activation: Literal["auto", "softmax", "sigmoid", "none"] = "auto"

    @property
    def applied_activation(self) -> Activation:
        """What makes probabilities of the network's answers.

        WSInfer's networks answer scores (logits): the sigmoid of one class, the softmax of several.
        """
        if self.activation != "auto":
            return self.activation
        if self.num_classes == 1:
            return "sigmoid"
        return "softmax"

    @property
    def input_px(self) -> int:
        """The edge in pixels of what the network takes.

        Tiles are read at that size, so that they are resampled only once.
        """
        edges: set[int] = set()
        for step in self._steps("Resize"):
            size = _Resize.model_validate(step.arguments or {}).size
            if isinstance(size, int):
                edges.add(size)
            else:
                edges.update(size)
        if len(edges) > 1:
            raise ValueError(f"Resize to {sorted(edges)}: the network must be given squares")
        if edges:
            return edges.pop()
        return self.patch_size_pixels

    @property
    def mpp(self) -> float:
        """Microns per pixel of what the network takes."""
        return self.spacing_um_px * self.patch_size_pixels / self.input_px

    @property
    def normalization(self) -> tuple[_Three, _Three]:
        """Mean and standard deviation of each channel, of samples from 0 to 1."""
        steps = self._steps("Normalize")
        if not steps:
            raise ValueError(
                "transform: Normalize is missing; for a network that takes samples from 0 to 1, "
                "state a mean of [0, 0, 0] and a std of [1, 1, 1]"
            )
        normalize = [_Normalize.model_validate(step.arguments or {}) for step in steps]
        if len(normalize) > 1 or 0 in normalize[0].std:
            raise ValueError("Normalize must stand there once, with no std of 0")
        return normalize[0].mean, normalize[0].std

    def _steps(self, name: str) -> list[_Step]:
        return [step for step in self.transform if step.name == name]


def describe(name: str, folder: Path) -> Description:
    """Return the content of the folder's config.json.

    Raises ConfigError, which names the algorithm `name`, where it is missing or cannot work.
    """
    try:
        description = Description.model_validate_json((folder / "config.json").read_bytes())
        _check(description)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        location = ".".join(map(str, first["loc"]))
        raise _folder_error(name, f"config.json: {location}: {first['msg']}") from None
    except (OSError, ValueError) as error:
        raise _folder_error(name, f"config.json: {error}") from None
    return description


def network_file(name: str, folder: Path) -> Path:
    """Return the file of the trained network. Raises ConfigError where there is none."""
    for file in (folder / one for one in FILES):
        if file.is_file():
            return file
    raise _folder_error(
        name,
        f"it holds neither {' nor '.join(FILES)}; safetensors without their code cannot be run",
    )


def weights_card(name: str, entry: AlgorithmSettings) -> AlgorithmCard:
    """Return the card of the network in `entry.folder`. Raises ConfigError."""
    if entry.folder is None:
        raise _folder_error(name, "there is none")
    config = _config_bytes(name, entry.folder)
    description = describe(name, entry.folder)
    file = network_file(name, entry.folder)
    if entry.compile and file.suffix != ".pt2":
        raise ConfigError(
            f"worker.algorithms.{name}.compile: only model.pt2 can be compiled, not {file.name}"
        )
    network_sha256 = _file_sha256(file)
    _check_sha256(name, entry, file, network_sha256)
    digest = _digest(config, network_sha256)
    check_unchanged(name, file, digest)
    names = description.class_names
    tile_um = description.mpp * description.input_px
    return AlgorithmCard(
        name=name,
        version=digest[:12],
        digest=digest,
        title=f"{description.architecture or 'network'}: {', '.join(names)}"[:200],
        description=f"Says for every tile of {tile_um:g} um how likely each class is.",
        output="tiles",
        mpp=description.mpp,
        tile_px=description.input_px,
        tolerance=entry.tolerance,
        classes=tuple(_class_card(number, one) for number, one in enumerate(names)),
        parameters=schema(weights_parameters(entry)),
    )


def weights_parameters(entry: AlgorithmSettings) -> type[BaseModel]:
    """Return what an order may set: what becomes of another stain, where the entry states some."""
    if entry.stains:
        return StainParameters
    return NoParameters


def check_unchanged(name: str, file: Path, digest: str) -> None:
    """Raise ConfigError unless the folder of this network still has the digest of a card.

    Whoever has read the folder calls it afterwards: a card and a network that were read while the
    folder was replaced may be of two versions.
    """
    if _digest(_config_bytes(name, file.parent), _file_sha256(file)) != digest:
        raise _folder_error(name, "its files were changed while they were read")


def _config_bytes(name: str, folder: Path) -> bytes:
    try:
        return (folder / "config.json").read_bytes()
    except OSError as error:
        raise _folder_error(name, f"config.json: {error}") from None


def _digest(config: bytes, network_sha256: str) -> str:
    return hashlib.sha256(config + bytes.fromhex(network_sha256)).hexdigest()


def _check(description: Description) -> None:
    """Raise ValueError where the fields contradict each other."""
    count = description.num_classes
    names = description.class_names
    if len(names) != count or len(set(names)) != count:
        raise ValueError(f"class_names: {count} different ones are needed")
    unfit = "sigmoid"
    if count == 1:
        unfit = "softmax"
    if description.activation == unfit:
        raise ValueError(
            f"activation: {description.activation} does not fit {count} classes, whose "
            "probabilities add up to 1: sigmoid is for one class, softmax for several"
        )
    # these properties raise for transforms that cannot work
    _ = description.mpp
    _ = description.normalization
    steps = [step.name for step in description.transform]
    if steps.count("ToTensor") != 1 or steps.index("ToTensor") > steps.index("Normalize"):
        raise ValueError("transform: ToTensor must stand there once, before Normalize")


def _class_card(number: int, name: str) -> ClassCard:
    color = _COLORS[number % len(_COLORS)]
    return ClassCard(name=name, color=color, annotation_type=name)


def _check_sha256(name: str, entry: AlgorithmSettings, file: Path, actual: str) -> None:
    """Raise ConfigError where the settings state another SHA-256 than the network's."""
    if entry.sha256 is not None and entry.sha256.lower() != actual:
        raise ConfigError(
            f"worker.algorithms.{name}.sha256: {file.name} has the SHA-256 {actual}, "
            f"and the settings require {entry.sha256.lower()}"
        )


def _file_sha256(file: Path) -> str:
    """Return the SHA-256 of a file in hex, computed anew once the file has changed."""
    status = file.stat()
    return _sha256_of_version(file, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@lru_cache(maxsize=16)
def _sha256_of_version(file: Path, _size_bytes: int, _modified_ns: int, _changed_ns: int) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _folder_error(name: str, detail: str) -> ConfigError:
    return ConfigError(f"worker.algorithms.{name}.folder: {detail}")
