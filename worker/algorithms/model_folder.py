"""A folder with a trained network and the config.json that describes it, as WSInfer's model zoo has them.

Loads no torch. Owns that format: https://github.com/SBU-BMI/wsinfer-zoo, `config.json` of spec_version "1.0". Beside it
lies `torchscript_model.pt`, or `model.pt2` of torch.export.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from broker.orders.algorithm_card import AlgorithmCard, ClassCard
from broker.settings.config import AlgorithmSettings, ConfigError
from worker.algorithms.builtin_cards import NoParameters, schema

FILES: Final = ("torchscript_model.pt", "model.pt2")
# Distinct to colour-blind eyes: Okabe and Ito, "Color Universal Design" (2008), then darker ones.
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
    """What config.json says of the network: the tiles that it wants, and what it tells apart."""

    spec_version: Literal["1.0"]
    architecture: str = Field("", max_length=200)
    num_classes: int = Field(ge=1, le=_MOST_CLASSES)
    class_names: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...]
    patch_size_pixels: _Edge
    spacing_um_px: float = Field(gt=0.01, le=100)
    transform: tuple[_Step, ...] = ()

    @property
    def input_px(self) -> int:
        """Edge of what the network is given. A patch is read at that size at once, and so resampled only once."""
        sizes = [
            _Resize.model_validate(step.arguments or {}).size for step in self._steps("Resize")
        ]
        edges = {
            edge for size in sizes for edge in (size if isinstance(size, Sequence) else (size,))
        }
        if len(edges) > 1:
            raise ValueError(f"Resize to {sorted(edges)}: the network must be given squares")
        return edges.pop() if edges else self.patch_size_pixels

    @property
    def mpp(self) -> float:
        """Microns per pixel of what the network is given."""
        return self.spacing_um_px * self.patch_size_pixels / self.input_px

    @property
    def normalization(self) -> tuple[_Three, _Three]:
        """Mean and deviation of each channel, of samples from 0 to 1."""
        found = [
            _Normalize.model_validate(step.arguments or {}) for step in self._steps("Normalize")
        ]
        if len(found) > 1 or any(0 in one.std for one in found):
            raise ValueError("Normalize must stand there once at most, with no std of 0")
        return (found[0].mean, found[0].std) if found else ((0, 0, 0), (1, 1, 1))

    def _steps(self, name: str) -> list[_Step]:
        return [step for step in self.transform if step.name == name]


def describe(name: str, folder: Path) -> Description:
    """What the folder's config.json says. Raises `ConfigError`, which names the algorithm `name`."""
    try:
        said = Description.model_validate_json((folder / "config.json").read_bytes())
        if (
            len(said.class_names) != said.num_classes
            or len(set(said.class_names)) != said.num_classes
        ):
            raise ValueError(f"class_names: {said.num_classes} different ones are needed")
        _ = said.mpp, said.normalization
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise _wrong(
            name, f"config.json: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        ) from None
    except (OSError, ValueError) as error:
        raise _wrong(name, f"config.json: {error}") from None
    return said


def network_file(name: str, folder: Path) -> Path:
    """The trained network in the folder. Raises `ConfigError`."""
    for file in (folder / one for one in FILES):
        if file.is_file():
            return file
    raise _wrong(
        name,
        f"it holds neither {' nor '.join(FILES)}; safetensors without their code cannot be run",
    )


def weights_card(name: str, entry: AlgorithmSettings) -> AlgorithmCard:
    """The card of the network in `entry.folder`. Raises `ConfigError`."""
    if entry.folder is None:
        raise _wrong(name, "there is none")
    said, file = describe(name, entry.folder), network_file(name, entry.folder)
    if entry.compile and file.suffix != ".pt2":
        raise ConfigError(
            f"worker.algorithms.{name}.compile: only model.pt2 can be compiled, not {file.name}"
        )
    digest = _digest(file, file.stat().st_mtime_ns, (entry.folder / "config.json").read_bytes())
    return AlgorithmCard(
        name=name,
        version=digest[:12],
        digest=digest,
        title=f"{said.architecture or 'network'}: {', '.join(said.class_names)}"[:200],
        description=f"Says for every tile of {said.mpp * said.input_px:g} um how likely each class is.",
        output="tiles",
        mpp=said.mpp,
        tile_px=said.input_px,
        tolerance=entry.tolerance,
        classes=tuple(
            ClassCard(name=one, color=_COLORS[number % len(_COLORS)], annotation_type=one)
            for number, one in enumerate(said.class_names)
        ),
        parameters=schema(NoParameters),
    )


@lru_cache(maxsize=16)
def _digest(file: Path, _changed_ns: int, config: bytes) -> str:
    told = hashlib.sha256(config)
    with file.open("rb") as content:
        told.update(hashlib.file_digest(content, "sha256").digest())
    return told.hexdigest()


def _wrong(name: str, detail: str) -> ConfigError:
    return ConfigError(f"worker.algorithms.{name}.folder: {detail}")
