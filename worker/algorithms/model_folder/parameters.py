"""Makes the parameters of an order from the keys of a model file that belong to its output."""

import types
from functools import lru_cache
from typing import Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, create_model
from pydantic.fields import FieldInfo

from worker.algorithms.builtin.cards import NoParameters, StainParameters
from worker.algorithms.model_folder.errors import KeyedError
from worker.algorithms.model_folder.model_file import AnyModel

_OF_THE_NETWORK: Final = frozenset(
    {
        "style", "output_stride", "layers", "batch_form", "box_format", "box_units", "label_offset",
        "pool", "prefix_tokens", "multi_label", "bag", "inputs", "scope", "attention_head",
    }
)  # fmt: skip
"""Keys that say what a network answers: no order can change them."""
_UNITS: Final = {"_um2": "um2", "_um": "um", "_px": "px"}


def order_keys(model: AnyModel) -> tuple[str, ...]:
    """Return the keys that an order may set: those of `parameters`, else all numbers.

    Raises KeyedError where `parameters` names another key.
    """
    fields = type(model.settings).model_fields
    possible = [key for key in fields if key not in _OF_THE_NETWORK]
    if model.parameters is None:
        return tuple(key for key in possible if _is_number(fields[key]))
    for key in model.parameters:
        if key not in possible:
            raise KeyedError(
                "parameters",
                f"no key {key!r} can be set by an order; there are: {', '.join(possible)}",
            )
    return model.parameters


def parameters_model(model: AnyModel, *, has_stains: bool) -> type[BaseModel]:
    """Return what an order may set, with the model file's values as defaults."""
    values = tuple((key, getattr(model, key)) for key in order_keys(model))
    base: type[BaseModel] = NoParameters
    if has_stains:
        base = StainParameters
    return _made(base, type(model.settings), values)


@lru_cache(maxsize=32)
def _made(
    base: type[BaseModel], section: type[BaseModel], values: tuple[tuple[str, Any], ...]
) -> type[BaseModel]:
    if not values:
        return base
    fields: dict[str, Any] = {}
    for key, default in values:
        field = FieldInfo.merge_field_infos(section.model_fields[key], default=default)
        unit = _unit(key)
        if unit:
            field.json_schema_extra = {"unit": unit}
        fields[key] = (field.annotation, field)
    return create_model("Parameters", __base__=base, **fields)


def _unit(key: str) -> str:
    for ending, unit in _UNITS.items():
        if key.endswith(ending):
            return unit
    return ""


def _is_number(field: FieldInfo) -> bool:
    return bool({int, float} & set(_types(field.annotation)))


def _types(annotation: Any) -> list[Any]:
    """Return the plain types of an annotation: of `Annotated` and of each part of a union."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        found = []
        for part in get_args(annotation):
            found += _types(part)
        return found
    if hasattr(annotation, "__metadata__"):
        return _types(get_args(annotation)[0])
    return [annotation]
