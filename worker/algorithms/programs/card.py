"""Makes the card of a program from the settings: nothing of it is run for that."""

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, Field, create_model

from broker.orders.algorithm_card import AlgorithmCard, ClassCard
from broker.settings.config import AlgorithmSettings
from broker.settings.programs import GIVEN_IN_EVERY_RUN, PROGRAM_TIME_LIMIT_S
from worker.algorithms.model_folder.errors import ENTRY, algorithm_error
from worker.algorithms.own_classes import distinct_colors
from worker.algorithms.parameters import NoParameters, schema
from worker.algorithms.python.api_card import PALETTE

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_LONGEST_TEXT: Final = 2000
_SMALL_BYTES: Final = 16 * 2**20
_DIGEST_CHARS: Final = 12
_RESERVED: Final = GIVEN_IN_EVERY_RUN | {"HOST"}


def program_card(name: str, entry: AlgorithmSettings) -> AlgorithmCard:
    """Return the card of the entry's program. Raises ConfigError."""
    digest = _digest(entry)
    return AlgorithmCard(
        name=name,
        version=_version(entry, digest),
        digest=digest,
        title=name,
        description=_description(entry),
        output="report",
        classes=_classes(entry),
        parameters=schema(parameters_model(name, entry)),
        time_limit_s=PROGRAM_TIME_LIMIT_S,
        whole_file=True,
    )


def parameters_model(name: str, entry: AlgorithmSettings) -> type[BaseModel]:
    """Return what an order may set: the variables in `parameters` of the entry, by their defaults.

    Raises ConfigError for one that no order may set.
    """
    fields: dict[str, Any] = {}
    for variable, default in entry.parameters.items():
        if not _NAME.fullmatch(variable):
            raise algorithm_error(
                name,
                ENTRY,
                f"parameters.{variable[:64]}: it is the name of a variable: letters, digits and _",
            )
        if variable in _RESERVED:
            raise algorithm_error(
                name, ENTRY, f"parameters.{variable}: every run is given its own; remove it"
            )
        if not isinstance(default, str | int | float | bool):
            raise algorithm_error(
                name, ENTRY, f"parameters.{variable}: a default is a text, a number, true or false"
            )
        fields[variable] = _field(default)
    return create_model("ProgramParameters", __base__=NoParameters, **fields)


def _field(default: str | float | bool) -> tuple[Any, Any]:  # noqa: FBT001 - a value
    if isinstance(default, str):
        return str, Field(default, max_length=_LONGEST_TEXT)
    return type(default), Field(default)


def _classes(entry: AlgorithmSettings) -> tuple[ClassCard, ...]:
    """Return the classes that the settings name; others are known once they are posted."""
    names = list(dict.fromkeys([*entry.titles, *entry.colors, *entry.annotation_types]))
    colors = distinct_colors([entry.colors.get(name) for name in names], PALETTE)
    return tuple(
        ClassCard(name=name, color=_valid(color), annotation_type=name)
        for name, color in zip(names, colors, strict=True)
    )


def _valid(color: str) -> str:
    """Return the colour, or any other for one that `with_own_classes` is going to refuse."""
    if re.fullmatch("#[0-9a-f]{6}", color):
        return color
    return PALETTE[0]


def _description(entry: AlgorithmSettings) -> str:
    if entry.kind == "container":
        return f"The image {entry.image}, which posts its results as to Techcyte."
    named = Path((entry.command or ("",))[-1]).name
    return f"A program of this site, {named}, which posts its results as to Techcyte."


def _version(entry: AlgorithmSettings, digest: str) -> str:
    """Return the tag of an image, or the begin of the digest of a command."""
    if entry.image is not None:
        name, _, tag = entry.image.rpartition(":")
        if name and "/" not in tag:
            return tag[:64]
    return digest[:_DIGEST_CHARS]


def _digest(entry: AlgorithmSettings) -> str:
    """Return a digest of the image's name, or of the command and the files that it names.

    What these files load is not known. The program itself counts by its path: it is an interpreter
    more often than not.
    """
    parts: list[Any] = [entry.kind, entry.image, list(entry.command or ())]
    parts.extend(_content(part) for part in (entry.command or ())[1:])
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _content(part: str) -> str:
    """Return the digest of a file that is small, the size of one that is not, else nothing."""
    try:
        if not os.path.isabs(part) or not Path(part).is_file():  # noqa: PTH117
            return ""
        size = Path(part).stat().st_size
        if size > _SMALL_BYTES:
            return str(size)
        return hashlib.sha256(Path(part).read_bytes()).hexdigest()
    except (OSError, ValueError):
        return ""
