"""Makes a card of Slidelane, and a model of its parameters, of a card of the public interface."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, Field, ValidationError, create_model

from broker.orders.algorithm_card import AlgorithmCard
from slidelane.algorithms import Card, CardError, Parameter
from worker.algorithms.output_settings import (
    EmbeddingsSettings,
    MaskSettings,
    ObjectsSettings,
    OutputSettings,
    TilesSettings,
)
from worker.algorithms.own_classes import class_cards
from worker.algorithms.parameters import NoParameters, StainParameters, schema

PALETTE: Final = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#f0e442",
    "#999999",
)
"""Colours that people with any colour vision tell apart: Okabe and Ito (2008), and a grey."""
_LONGEST_TEXT: Final = 2000
_POST: Final[Mapping[str, type[OutputSettings]]] = {
    "tiles": TilesSettings,
    "mask": MaskSettings,
    "objects": ObjectsSettings,
    "embeddings": EmbeddingsSettings,
    "report": ObjectsSettings,
}


def algorithm_card(name: str, card: Card, digest: str) -> AlgorithmCard:
    """Return the card as the workers announce it."""
    return AlgorithmCard(
        name=name,
        version=card.version,
        digest=digest,
        title=card.title,
        description=card.description,
        output=card.output,
        mpp=card.mpp,
        tile_px=card.input_px - 2 * card.halo_px,
        halo_px=card.halo_px,
        overlap_px=card.overlap_px,
        tissue_only=card.tissue_only,
        stains=tuple(card.stains),
        classes=tuple(class_cards(card.classes, PALETTE)),
        measurements=tuple(card.measurements),
        parameters=schema(parameters_model(name, card)),
        ruo=card.ruo,
        license=card.license,
        citation=card.citation,
        report=dict(card.report),
    )


def output_settings(card: Card) -> OutputSettings:
    """Return what `post` says. Raises CardError, which names the key that is wrong."""
    try:
        return _POST[card.output].model_validate(dict(card.post))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            known = ", ".join(_POST[card.output].model_fields)
            raise CardError(f"post.{key}: there is no such key; there are: {known}") from None
        raise CardError(f"post.{key}: {first['msg']}") from None


def parameters_model(
    name: str, card: Card, stains: tuple[str, ...] | None = None
) -> type[BaseModel]:
    """Return the model of what an order may set; `stains` are the site's, None for the card's."""
    if stains is None:
        stains = tuple(card.stains)
    base: type[BaseModel] = NoParameters
    if stains:
        base = StainParameters
    fields: dict[str, Any] = {entry.name: _field(entry) for entry in card.parameters}
    return create_model(f"{name}Parameters", __base__=base, **fields)


def _field(entry: Parameter) -> tuple[Any, Any]:
    extra: dict[str, Any] = {}
    if entry.unit:
        extra["unit"] = entry.unit
    limits: dict[str, Any] = {"ge": entry.minimum, "le": entry.maximum}
    if isinstance(entry.default, str) and not entry.choices:
        limits["max_length"] = _LONGEST_TEXT
    described: dict[str, Any] = {
        "title": entry.title or None,
        "description": entry.description or None,
        "json_schema_extra": extra,
    }
    default = entry.default
    if isinstance(default, float) and default.is_integer():
        default = int(default)  # as people write it, in schemas and results
    return _type_of(entry), Field(default, **limits, **described)


def _type_of(entry: Parameter) -> Any:
    if entry.choices:
        return Literal[entry.choices]
    if entry.default is None:
        return float | None
    return type(entry.default)
