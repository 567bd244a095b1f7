"""From a name in the settings to a card, from an order to an algorithm ready to run. Only `load` loads torch."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from broker.errors import OrderError
from broker.orders.algorithm_card import AlgorithmCard
from broker.settings.config import AlgorithmSettings, ConfigError
from worker.algorithms.builtin_cards import (
    GridParameters,
    Ki67Parameters,
    NoParameters,
    grid_card,
    ki67_card,
)
from worker.algorithms.interface import Algorithm
from worker.algorithms.model_folder import weights_card

Settings = Mapping[str, AlgorithmSettings]


@dataclass(frozen=True, slots=True)
class _Kind:
    card: Callable[[str, AlgorithmSettings], AlgorithmCard]
    parameters: type[BaseModel]
    load: Callable[[AlgorithmCard, Any, AlgorithmSettings, str], Algorithm]
    has_weights: bool = False


def cards(settings: Settings) -> dict[str, AlgorithmCard]:
    """Every algorithm that can be ordered, as this site has set it up. Raises `ConfigError`."""
    return {name: _card(name, entry) for name, entry in settings.items()}


def load(name: str, settings: Settings, parameters: Mapping[str, Any], device: str) -> Algorithm:
    """The algorithm, set up with an order's parameters, on `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises `OrderError` where the name or a parameter is wrong, `ConfigError` where the settings are.
    """
    if name not in settings:
        known = ", ".join(sorted(settings))
        raise OrderError(
            "algorithm_unknown", f"this worker has no algorithm {name!r}", hint=f"it has: {known}"
        )
    entry = settings[name]
    card, kind = _card(name, entry), _kind(name, entry)
    return kind.load(card, _parameters(kind, {**entry.parameters, **parameters}), entry, device)


def _kind(name: str, entry: AlgorithmSettings) -> _Kind:
    if entry.kind not in _KINDS:
        known = ", ".join(sorted(_KINDS))
        raise ConfigError(
            f"worker.algorithms.{name}.kind: there is no kind {entry.kind!r}; there are: {known}"
        )
    return _KINDS[entry.kind]


def _card(name: str, entry: AlgorithmSettings) -> AlgorithmCard:
    kind = _kind(name, entry)
    if kind.has_weights != (entry.folder is not None):
        needed = "needs one, with the network" if kind.has_weights else "takes none"
        raise ConfigError(f"worker.algorithms.{name}.folder: the kind {entry.kind!r} {needed}")
    card = kind.card(name, entry)
    limits = {"queue": entry.queue, "time_limit_s": entry.time_limit_s}
    changed: dict[str, Any] = {key: value for key, value in limits.items() if value is not None}
    changed |= {"name": name, "parameters": _own_defaults(name, entry, kind, card.parameters)}
    try:
        return AlgorithmCard.model_validate(card.model_dump() | changed)
    except ValidationError as error:
        raise ConfigError(f"worker.algorithms.{name}: {_first(error)['msg']}") from None


def _own_defaults(
    name: str, entry: AlgorithmSettings, kind: _Kind, schema: dict[str, Any]
) -> dict[str, Any]:
    """The schema with this site's defaults in place of the card's."""
    try:
        kind.parameters.model_validate(entry.parameters)
    except ValidationError as error:
        first = _first(error)
        raise ConfigError(
            f"worker.algorithms.{name}.parameters.{_place(first)}: {first['msg']}"
        ) from None
    properties = schema["properties"]
    own = {key: properties[key] | {"default": value} for key, value in entry.parameters.items()}
    return schema | {"properties": properties | own}


def _parameters(kind: _Kind, given: dict[str, Any]) -> BaseModel:
    try:
        return kind.parameters.model_validate(given)
    except ValidationError as error:
        first = _first(error)
        field, hint = (
            f"parameters.{_place(first)}",
            f"the parameters are: {', '.join(kind.parameters.model_fields)}",
        )
        raise OrderError(
            "parameters_invalid", f"{field}: {first['msg']}", hint=hint, field=field
        ) from None


def _first(error: ValidationError) -> ErrorDetails:
    return error.errors(include_url=False, include_input=False)[0]


def _place(error: ErrorDetails) -> str:
    return ".".join(map(str, error["loc"]))


def _load_ki67(
    card: AlgorithmCard, parameters: Ki67Parameters, _entry: AlgorithmSettings, device: str
) -> Algorithm:
    from worker.algorithms.ki67.ki67 import Ki67
    from worker.algorithms.torch_device.device import resolve

    return Ki67(card, parameters, resolve(device))


def _load_grid(
    card: AlgorithmCard, parameters: GridParameters, _entry: AlgorithmSettings, _device: str
) -> Algorithm:
    from worker.algorithms.box_grid import BoxGrid

    return BoxGrid(card, parameters)


def _load_weights(
    card: AlgorithmCard, _parameters: NoParameters, entry: AlgorithmSettings, device: str
) -> Algorithm:
    from worker.algorithms.tile_classifier import TrainedNetwork
    from worker.algorithms.torch_device.device import resolve

    return TrainedNetwork(card, entry, resolve(device))


_KINDS: Mapping[str, _Kind] = {
    "ki67": _Kind(lambda _name, _entry: ki67_card(), Ki67Parameters, _load_ki67),
    "grid": _Kind(lambda _name, _entry: grid_card(), GridParameters, _load_grid),
    "weights": _Kind(weights_card, NoParameters, _load_weights, has_weights=True),
}


def release_device() -> None:
    """Give the device's unused memory back, where an algorithm has used one."""
    if "torch" in sys.modules:
        from worker.algorithms.torch_device.memory import release

        release()


def compute_threads(count: int) -> None:
    """From now on every thread that computes uses so many cores, where an algorithm computes with torch at all."""
    if "torch" in sys.modules:
        from worker.algorithms.torch_device.device import compute_threads as with_threads

        with_threads(count)
