"""Which algorithms this site offers: built-in kinds under the site's names, limits and defaults.

Loads torch only in `load`.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from broker.card import Card
from broker.config import AlgorithmSettings, ConfigError
from broker.errors import OrderError
from worker.algorithms.cards import CARDS, PARAMETERS
from worker.algorithms.protocol import Algorithm

Settings = Mapping[str, AlgorithmSettings]


def cards(settings: Settings) -> dict[str, Card]:
    """Every offered algorithm's card. Raises `ConfigError` naming the key that cannot work."""
    return {name: _card(name, entry) for name, entry in settings.items()}


def load(name: str, settings: Settings, parameters: Mapping[str, Any], device: str) -> Algorithm:
    """The algorithm, ready for one scan. Raises `OrderError`: `algorithm_unknown`, `parameters_invalid`."""
    if name not in settings:
        raise OrderError("algorithm_unknown", f"this worker offers no algorithm {name!r}", hint="see worker.algorithms")
    card, kind = _card(name, settings[name]), settings[name].kind
    try:
        asked = PARAMETERS[kind].model_validate({**settings[name].parameters, **parameters})
    except ValidationError as error:
        told = error.errors(include_url=False, include_input=False)[0]
        raise OrderError(
            "parameters_invalid", told["msg"], field=f"parameters.{'.'.join(map(str, told['loc']))}"
        ) from None
    if kind == "grid":
        from worker.algorithms.grid import Grid

        return Grid(card, asked)  # type: ignore[arg-type]  # PARAMETERS pairs the kind with its model
    from worker.algorithms.ki67 import Ki67

    return Ki67(card, asked, device)  # type: ignore[arg-type]


def _card(name: str, entry: AlgorithmSettings) -> Card:
    if entry.kind not in CARDS:
        known = ", ".join(sorted(CARDS))
        raise ConfigError(f"worker.algorithms.{name}.kind: there is no kind {entry.kind!r}; there are: {known}")
    card = CARDS[entry.kind]()
    changes: dict[str, Any] = {"name": name, "parameters": _with_defaults(name, entry, card.parameters)}
    changes |= {key: value for key in ("lane", "time_limit_s") if (value := getattr(entry, key)) is not None}
    return card.model_copy(update=changes)


def _with_defaults(name: str, entry: AlgorithmSettings, schema: dict[str, Any]) -> dict[str, Any]:
    try:
        PARAMETERS[entry.kind].model_validate(entry.parameters)
    except ValidationError as error:
        told = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(map(str, told["loc"]))
        raise ConfigError(f"worker.algorithms.{name}.parameters.{key}: {told['msg']}") from None
    properties = {key: dict(field) for key, field in schema["properties"].items()}
    for key, value in entry.parameters.items():
        properties[key]["default"] = value
    return schema | {"properties": properties}
