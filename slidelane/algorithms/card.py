"""The card of an algorithm: what it says of itself before it runs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final, Literal

Output = Literal["tiles", "mask", "objects", "embeddings", "report"]
OUTPUTS: Final = ("tiles", "mask", "objects", "embeddings", "report")
MOST_CLASSES: Final = 1000
_COLOR: Final = re.compile(r"#[0-9a-fA-F]{6}")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_LONGEST_NAME: Final = 200


class CardError(ValueError):
    """A card that cannot work. The message begins with the field: `classes[1].color: …`."""


@dataclass(frozen=True, slots=True)
class Class:
    """One class of what is found.

    `color` is `#rrggbb`, `annotation_type` the name at Techcyte, `title` the name for people; where
    they are empty Slidelane chooses. What is of a `background` class is no finding.
    """

    name: str
    color: str = ""
    annotation_type: str = ""
    title: str = ""
    background: bool = False


@dataclass(frozen=True, slots=True)
class Parameter:
    """One value that an order may set.

    Its type is that of `default`; None stands for a number that may be left out. Limits are
    inclusive. `choices` are the texts that are allowed.
    """

    name: str
    default: bool | int | float | str | None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    unit: str = ""
    title: str = ""
    description: str = ""


def _basic_report() -> Mapping[str, Any]:
    return {"type": "Basic"}


def _nothing() -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Card:
    """What an algorithm finds, what it reads, and what an order may set.

    `mpp` is microns per pixel of the tiles, needed for a `TileModel`; `input_px` the edge of the
    square that `classify` is given, of which `halo_px` on each side is context that belongs to the
    neighbours. `post` holds what is done with the answers: `min_area_um2`, `nms_radius_um`, …
    `measurements` names what a `TileModel` measures on each object, with the unit in the name.
    """

    title: str
    output: Output
    classes: tuple[Class, ...] = ()
    mpp: float | None = None
    input_px: int = 512
    halo_px: int = 0
    overlap_px: int = 0
    batch: int = 8
    tissue_only: bool = True
    stains: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    description: str = ""
    version: str = "0"
    ruo: bool = True
    license: str = ""
    citation: str = ""
    report: Mapping[str, Any] = field(default_factory=_basic_report)
    post: Mapping[str, Any] = field(default_factory=_nothing)
    measurements: tuple[str, ...] = ()


def check_card(card: Card) -> None:
    """Raise CardError for the first field that cannot work."""
    _check_text("title", card.title, least=1)
    _check_text("description", card.description, most=2000)
    _check_text("version", card.version, least=1)
    if card.output not in OUTPUTS:
        raise CardError(f"output: there is no {card.output!r}; there are: {', '.join(OUTPUTS)}")
    if card.mpp is not None and not _is_number_within(card.mpp, 0.01, 100):
        raise CardError(f"mpp: {card.mpp!r} is no number from 0.01 to 100, microns per pixel")
    _check_pixels(card)
    _check_tuple("classes", card.classes, Class)
    _check_tuple("parameters", card.parameters, Parameter)
    _check_classes(card.classes)
    _check_parameters(card.parameters)
    _check_tuple("stains", card.stains, str)
    _check_tuple("measurements", card.measurements, str)
    for name in ("report", "post"):
        if not isinstance(getattr(card, name), Mapping):
            raise CardError(f"{name}: a dictionary is required")


def _check_pixels(card: Card) -> None:
    _check_whole("input_px", card.input_px, 32, 4096)
    _check_whole("halo_px", card.halo_px, 0, 2048)
    _check_whole("overlap_px", card.overlap_px, 0, 4095)
    _check_whole("batch", card.batch, 1, 1024)
    core_px = card.input_px - 2 * card.halo_px
    if core_px < 1:
        raise CardError(
            f"halo_px: twice {card.halo_px} must be less than input_px, which is {card.input_px}"
        )
    if card.overlap_px >= core_px:
        raise CardError(
            f"overlap_px: {card.overlap_px} must be less than the {core_px} px without the halo"
        )


def _check_classes(classes: tuple[Class, ...]) -> None:
    if len(classes) > MOST_CLASSES:
        raise CardError(f"classes: {len(classes)} are more than {MOST_CLASSES}")
    names = set()
    backgrounds = 0
    for number, entry in enumerate(classes):
        place = f"classes[{number}]"
        _check_text(f"{place}.name", entry.name, least=1, most=_LONGEST_NAME)
        _check_text(f"{place}.annotation_type", entry.annotation_type, most=_LONGEST_NAME)
        _check_text(f"{place}.title", entry.title, most=_LONGEST_NAME)
        if entry.name in names:
            raise CardError(f"{place}.name: {entry.name!r} is there twice")
        names.add(entry.name)
        if not isinstance(entry.color, str) or (entry.color and not _COLOR.fullmatch(entry.color)):
            raise CardError(f"{place}.color: {entry.color!r} is not of the form #rrggbb")
        backgrounds += bool(entry.background)
    if backgrounds > 1:
        raise CardError("classes: only one may be the background")


def _check_parameters(parameters: tuple[Parameter, ...]) -> None:
    names = set()
    for number, entry in enumerate(parameters):
        place = f"parameters[{number}]"
        if not isinstance(entry.name, str) or not _NAME.fullmatch(entry.name):
            raise CardError(f"{place}.name: {entry.name!r} is no name of letters, digits and _")
        if entry.name in names:
            raise CardError(f"{place}.name: {entry.name!r} is there twice")
        names.add(entry.name)
        _check_default(place, entry)


def _check_default(place: str, entry: Parameter) -> None:
    default = entry.default
    if isinstance(default, str):
        if entry.choices and default not in entry.choices:
            raise CardError(f"{place}.default: {default!r} is none of its choices")
        return
    if entry.choices:
        raise CardError(f"{place}.choices: only a text has choices")
    if default is None or isinstance(default, bool):
        return
    if not isinstance(default, int | float) or not isfinite(default):
        raise CardError(f"{place}.default: {default!r} is no bool, number, text or None")
    if entry.minimum is not None and default < entry.minimum:
        raise CardError(f"{place}.default: {default!r} is below the minimum {entry.minimum!r}")
    if entry.maximum is not None and default > entry.maximum:
        raise CardError(f"{place}.default: {default!r} is above the maximum {entry.maximum!r}")


def _check_tuple(name: str, values: object, kind: type) -> None:
    if not isinstance(values, tuple | list):
        raise CardError(f"{name}: a tuple is required")
    for number, value in enumerate(values):
        if not isinstance(value, kind):
            raise CardError(f"{name}[{number}]: {value!r} is no {kind.__name__}")


def _check_text(name: str, text: object, least: int = 0, most: int = _LONGEST_NAME) -> None:
    if not isinstance(text, str) or not least <= len(text) <= most:
        raise CardError(f"{name}: a text of {least} to {most} characters is required")


def _check_whole(name: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise CardError(f"{name}: {value!r} is no whole number from {least} to {most}")


def _is_number_within(value: object, least: float, most: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return least <= value <= most
