"""Reads the keys of WSInfer's model zoo into those of model.json.

The format: https://github.com/SBU-BMI/wsinfer-zoo, `config.json` of spec_version "1.0".
"""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from worker.algorithms.model_folder.errors import KeyedError

MOST_CLASSES: Final = 1000
ClassName = Annotated[str, Field(min_length=1, max_length=200)]
Edge = Annotated[int, Field(ge=1, le=4096)]
Three = tuple[float, float, float]
_RELATIVE_ROUNDING: Final = 1e-6
"""By how much two statements of the same resolution may differ, as a share of it."""


class _Lenient(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", allow_inf_nan=False, hide_input_in_errors=True
    )


class _Resize(_Lenient):
    size: Edge | tuple[Edge, Edge]


class _Normalize(_Lenient):
    mean: Three
    std: Three


class Step(_Lenient):
    """One step of `transform`."""

    name: Literal["Resize", "ToTensor", "Normalize"]
    arguments: dict[str, Any] | None = None


class WSInferClassKeys(_Lenient):
    """The keys of WSInfer that say what a network is, and its classes."""

    spec_version: Literal["1.0"] | None = Field(None, description="of a WSInfer config.json")
    architecture: str = Field("", max_length=200, description="shown only")
    num_classes: int | None = Field(
        None, ge=1, le=MOST_CLASSES, description="WSInfer's; the length of `class_names`"
    )
    class_names: tuple[ClassName, ...] | None = Field(
        None, description="WSInfer's; the short form of `classes`"
    )


class WSInferPixelKeys(_Lenient):
    """The keys of WSInfer that say what a network is given."""

    patch_size_pixels: Edge | None = Field(
        None, description="WSInfer's; `input_px`, unless `transform` has a Resize"
    )
    spacing_um_px: float | None = Field(
        None, ge=0.01, le=100, description="WSInfer's; `mpp` before the Resize"
    )
    transform: tuple[Step, ...] | None = Field(
        None, description="WSInfer's; read into `input_px`, `scale` and `normalize`"
    )


class _Keys(WSInferClassKeys, WSInferPixelKeys):
    pass


class _Config(_Keys):
    """config.json, all of whose keys are needed."""

    spec_version: Literal["1.0"]
    num_classes: int = Field(ge=1, le=MOST_CLASSES)
    class_names: tuple[ClassName, ...]
    patch_size_pixels: Edge
    spacing_um_px: float = Field(ge=0.01, le=100)
    transform: tuple[Step, ...]
    activation: Literal["auto", "softmax", "sigmoid", "none"] = "auto"


def keys_of_config(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of a config.json that are read; its format allows any others.

    Raises ValidationError where one is missing or wrong.
    """
    _Config.model_validate(raw)
    return {key: value for key, value in raw.items() if key in _Config.model_fields}


def with_our_keys(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of a model file, with those of model.json that WSInfer's keys stand for.

    Raises ValidationError for wrong keys of WSInfer, KeyedError where they contradict each other or
    keys of model.json.
    """
    keys = _Keys.model_validate(
        {key: value for key, value in raw.items() if key in _Keys.model_fields}
    )
    found = dict(raw)
    _add_classes(found, keys)
    input_px = _input_px(keys)
    normalize = _normalization(keys)
    if normalize is not None:
        for key in ("normalize", "scale"):
            if key in raw:
                raise KeyedError(key, "it stands beside `transform`, which says the same")
        found["normalize"] = {"mean": normalize.mean, "std": normalize.std}
    if input_px is not None:
        _add(found, "input_px", input_px)
    if keys.spacing_um_px is not None:
        _add(found, "mpp", _mpp(keys, found.get("input_px"), keys.spacing_um_px))
    return found


def _add_classes(found: dict[str, Any], keys: WSInferClassKeys) -> None:
    names = keys.class_names
    if names is not None:
        count = keys.num_classes or len(names)
        if len(names) != count or len(set(names)) != count:
            raise KeyedError("class_names", f"{count} different ones are needed")
        if "classes" in found:
            raise KeyedError("class_names", "they stand beside `classes`, which says the same")
        found["classes"] = list(names)
        return
    if keys.num_classes is None:
        return
    classes = found.get("classes")
    if not isinstance(classes, list) or len(classes) != keys.num_classes:
        raise KeyedError("num_classes", f"`classes` must be a list of {keys.num_classes}")


def _add(found: dict[str, Any], key: str, value: float) -> None:
    """Set the key, or raise KeyedError where it has another value."""
    given = found.get(key)
    if given is None:
        found[key] = value
        return
    if not isinstance(given, int | float) or abs(given - value) > _RELATIVE_ROUNDING * value:
        raise KeyedError(key, f"it is {given!r}, and the keys of WSInfer make it {value:g}")


def _input_px(keys: _Keys) -> int | None:
    """Return the edge in pixels of what the network takes.

    Tiles are read at that size, so that they are resampled only once.
    """
    edges: set[int] = set()
    for step in _steps(keys, "Resize"):
        size = _Resize.model_validate(step.arguments or {}).size
        if isinstance(size, int):
            edges.add(size)
        else:
            edges.update(size)
    if len(edges) > 1:
        raise KeyedError(
            "transform", f"Resize to {sorted(edges)}: the network must be given squares"
        )
    if edges:
        return edges.pop()
    return keys.patch_size_pixels


def _mpp(keys: WSInferPixelKeys, input_px: object, spacing: float) -> float:
    """Return microns per pixel of what the network takes."""
    if keys.patch_size_pixels is None or not isinstance(input_px, int):
        return spacing
    return spacing * keys.patch_size_pixels / max(1, input_px)


def _normalization(keys: WSInferPixelKeys) -> _Normalize | None:
    """Return mean and standard deviation of each channel, of samples from 0 to 1."""
    if keys.transform is None:
        return None
    names = [step.name for step in keys.transform]
    if "Normalize" not in names:
        raise KeyedError(
            "transform",
            "Normalize is missing; for a network that takes samples from 0 to 1, "
            "state a mean of [0, 0, 0] and a std of [1, 1, 1]",
        )
    normalize = [
        _Normalize.model_validate(step.arguments or {}) for step in _steps(keys, "Normalize")
    ]
    if len(normalize) > 1 or 0 in normalize[0].std:
        raise KeyedError("transform", "Normalize must stand there once, with no std of 0")
    if names.count("ToTensor") != 1 or names.index("ToTensor") > names.index("Normalize"):
        raise KeyedError("transform", "ToTensor must stand there once, before Normalize")
    return normalize[0]


def _steps(keys: WSInferPixelKeys, name: str) -> list[Step]:
    return [step for step in keys.transform or () if step.name == name]
