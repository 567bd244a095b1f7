"""Titles, colours and annotation types that a site states for the classes of an algorithm."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Protocol

from broker.orders.algorithm_card import ClassCard
from broker.settings.config import AlgorithmSettings
from worker.algorithms.model_folder.errors import ENTRY, algorithm_error

_COLOR: Final = re.compile(r"#[0-9a-f]{6}")
_MOST_CHARS: Final = 200


def with_own_classes(
    name: str, entry: AlgorithmSettings, classes: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return the classes of a card with what the settings state of them.

    Raises ConfigError for a class that there is not, and for a value that cannot work.
    """
    known = [one["name"] for one in classes]
    for setting in ("titles", "colors", "annotation_types"):
        _check_names(name, setting, getattr(entry, setting), known)
    colors = {one: color.lower() for one, color in entry.colors.items()}
    for one, color in colors.items():
        if not _COLOR.fullmatch(color):
            raise algorithm_error(name, ENTRY, f"colors.{one}: a colour is #rrggbb, in hex")
    found = []
    for given in classes:
        own = dict(given)
        own["title"] = entry.titles.get(own["name"], own["title"])
        own["color"] = colors.get(own["name"], own["color"])
        own["annotation_type"] = entry.annotation_types.get(own["name"], own["annotation_type"])
        found.append(own)
    return found


def _check_names(name: str, setting: str, given: Mapping[str, str], known: Collection[str]) -> None:
    for one, value in given.items():
        if one not in known:
            raise algorithm_error(
                name,
                ENTRY,
                f"{setting}.{one[:_MOST_CHARS]}: there is no such class; "
                f"there are: {', '.join(known)}",
            )
        if not value or len(value) > _MOST_CHARS:
            raise algorithm_error(
                name, ENTRY, f"{setting}.{one}: 1 to {_MOST_CHARS} characters are needed"
            )


class StatedClass(Protocol):
    """A class as model.json or a Python card states it; what is empty or null has a default."""

    @property
    def name(self) -> str:
        """The class."""

    @property
    def title(self) -> str:
        """Its name for people."""

    @property
    def color(self) -> str | None:
        """Its colour, #rrggbb."""

    @property
    def annotation_type(self) -> str | None:
        """Its annotation type at Techcyte."""

    @property
    def background(self) -> bool:
        """Whether it is no finding."""


def class_cards(classes: Sequence[StatedClass], palette: Sequence[str]) -> list[ClassCard]:
    """Return the classes with a colour and an annotation type for each."""
    colors = distinct_colors([entry.color for entry in classes], palette)
    return [
        ClassCard(
            name=entry.name,
            color=color,
            annotation_type=entry.annotation_type or entry.name,
            title=entry.title,
            background=entry.background,
        )
        for entry, color in zip(classes, colors, strict=True)
    ]


def distinct_colors(stated: Sequence[str | None], palette: Sequence[str]) -> list[str]:
    """Return a colour for each class: the stated one, else one of the palette.

    Class number n gets the palette's colour n. Where another class has that colour, it gets the
    next one that no class has; colours repeat only where there are more classes than colours.
    """
    colors = [(color or "").lower() for color in stated]
    for number, color in enumerate(colors):
        if color:
            continue
        start = number % len(palette)
        in_turn = (*palette[start:], *palette[:start])
        free = [one for one in in_turn if one not in colors]
        colors[number] = [*free, palette[start]][0]
    return colors
