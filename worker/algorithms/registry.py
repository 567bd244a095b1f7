"""From a name in the settings to a card, from an order to an algorithm ready to run. Only `load` loads torch."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from broker.card import Card
from broker.config import AlgorithmSettings, ConfigError
from broker.errors import OrderError
from worker.algorithms.cards import GridParameters, Ki67Parameters, grid_card, ki67_card
from worker.algorithms.protocol import Algorithm

Settings = Mapping[str, AlgorithmSettings]


@dataclass(frozen=True, slots=True)
class _Kind:
    card: Callable[[], Card]
    parameters: type[BaseModel]
    load: Callable[[Card, Any, str], Algorithm]


def cards(settings: Settings) -> dict[str, Card]:
    """Every algorithm that can be ordered, as this site has set it up. Raises `ConfigError`."""
    return {name: _card(name, entry) for name, entry in settings.items()}


def load(name: str, settings: Settings, parameters: Mapping[str, Any], device: str) -> Algorithm:
    """The algorithm, set up with an order's parameters, on `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises `OrderError` where the name or a parameter is wrong, `ConfigError` where the settings are.
    """
    if name not in settings:
        known = ", ".join(sorted(settings))
        raise OrderError("algorithm_unknown", f"this worker has no algorithm {name!r}", hint=f"it has: {known}")
    entry = settings[name]
    card, kind = _card(name, entry), _kind(name, entry)
    return kind.load(card, _parameters(kind, {**entry.parameters, **parameters}), device)


def _kind(name: str, entry: AlgorithmSettings) -> _Kind:
    if entry.kind not in _KINDS:
        known = ", ".join(sorted(_KINDS))
        raise ConfigError(f"worker.algorithms.{name}.kind: there is no kind {entry.kind!r}; there are: {known}")
    return _KINDS[entry.kind]


def _card(name: str, entry: AlgorithmSettings) -> Card:
    kind = _kind(name, entry)
    card = kind.card()
    limits = {"lane": entry.lane, "time_limit_s": entry.time_limit_s}
    changed: dict[str, Any] = {key: value for key, value in limits.items() if value is not None}
    changed |= {"name": name, "parameters": _own_defaults(name, entry, kind, card.parameters)}
    try:
        return Card.model_validate(card.model_dump() | changed)
    except ValidationError as error:
        raise ConfigError(f"worker.algorithms.{name}: {_first(error)['msg']}") from None


def _own_defaults(name: str, entry: AlgorithmSettings, kind: _Kind, schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with this site's defaults in place of the card's."""
    try:
        kind.parameters.model_validate(entry.parameters)
    except ValidationError as error:
        first = _first(error)
        raise ConfigError(f"worker.algorithms.{name}.parameters.{_place(first)}: {first['msg']}") from None
    properties = schema["properties"]
    own = {key: properties[key] | {"default": value} for key, value in entry.parameters.items()}
    return schema | {"properties": properties | own}


def _parameters(kind: _Kind, given: dict[str, Any]) -> BaseModel:
    try:
        return kind.parameters.model_validate(given)
    except ValidationError as error:
        first = _first(error)
        field, hint = f"parameters.{_place(first)}", f"the parameters are: {', '.join(kind.parameters.model_fields)}"
        raise OrderError("parameters_invalid", f"{field}: {first['msg']}", hint=hint, field=field) from None


def _first(error: ValidationError) -> ErrorDetails:
    return error.errors(include_url=False, include_input=False)[0]


def _place(error: ErrorDetails) -> str:
    return ".".join(map(str, error["loc"]))


def _load_ki67(card: Card, parameters: Ki67Parameters, device: str) -> Algorithm:
    from worker.algorithms.device import resolve
    from worker.algorithms.ki67 import Ki67

    return Ki67(card, parameters, resolve(device))


def _load_grid(card: Card, parameters: GridParameters, _device: str) -> Algorithm:
    from worker.algorithms.grid import BoxGrid

    return BoxGrid(card, parameters)


_KINDS: Mapping[str, _Kind] = {
    "ki67": _Kind(ki67_card, Ki67Parameters, _load_ki67),
    "grid": _Kind(grid_card, GridParameters, _load_grid),
}


def release_device() -> None:
    """Give the device's unused memory back, where an algorithm has used one."""
    if "torch" in sys.modules:
        from worker.algorithms.memory import release

        release()
