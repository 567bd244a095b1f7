"""Reads config.json of DynamicServices, with bounds, and repeats no value that may be a secret."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from slidelane.import_config.errors import ImportProblemsError

_MOST_BYTES: Final = 1_000_000
_MOST_TEXT: Final = 2048
_MOST_SHOWN: Final = 20
_SHOWN_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,40}(\.[A-Za-z0-9_-]{1,40}){0,3}")
_PLACEHOLDER: Final = re.compile(r"@?\bQUIP_[A-Z0-9_]+\b@?|@[A-Z][A-Z0-9_]*@?")
"""What `run.sh` replaces by host names, with the `@` that its `sed` looks for or without."""
KEYS: Final = (
    "orders.redis.host",
    "orders.redis.port",
    "orders.redis.channel",
    "orders.kue.host",
    "orders.kue.port",
    "orders.kue.path",
    "images.location.host",
    "images.location.port",
    "images.location.path",
    "images.imageServer.url",
    "images.imageServer.format",
    "images.api_key_file",
    "annotations.server.host",
    "annotations.server.port",
    "annotations.server.path",
    "annotations.redis.host",
    "annotations.redis.port",
    "annotations.redis.channel",
)
"""Every key that DynamicServices has."""
_SECTIONS: Final = frozenset(
    ".".join(key.split(".")[:depth]) for key in KEYS for depth in range(1, key.count(".") + 1)
)


@dataclass(frozen=True, slots=True)
class OldSettings:
    """What the file says: the value of each known key as text, and the names of other keys."""

    values: Mapping[str, str]
    unknown: tuple[str, ...]

    def get(self, key: str) -> str:
        """Return the value of a key, or an empty text."""
        return self.values.get(key, "")


def read(path: Path) -> OldSettings:
    """Return the settings of the file. Raise `ImportProblemsError`."""
    document = _document(path)
    _refuse_other_files(document, path)
    values: dict[str, str] = {}
    unknown: list[str] = []
    problems: list[str] = []
    for key, value in _leaves(document):
        if key not in KEYS and key not in _SECTIONS:
            unknown.append(_shown(key))
        elif key in _SECTIONS:
            problems.append(f"{key} must be an object with settings in it")
        elif isinstance(value, bool) or not isinstance(value, str | int):
            problems.append(f"{key} must be text or a whole number")
        else:
            text = str(value)
            problems += _problems_of_text(key, text)
            values[key] = text
    if problems:
        raise ImportProblemsError(problems[:_MOST_SHOWN])
    return OldSettings(values, tuple(unknown[:_MOST_SHOWN]))


def _document(path: Path) -> dict[Any, Any]:
    """Return the JSON object of the file. Raise `ImportProblemsError`."""
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ImportProblemsError([f"{path} cannot be read ({error.strerror})"]) from None
    if len(content) > _MOST_BYTES:
        raise ImportProblemsError([f"{path} is larger than {_MOST_BYTES:,} bytes: no config.json"])
    try:
        document = _parsed(content)
    except ValueError as error:
        raise ImportProblemsError([f"{path} {error}"]) from None
    if not isinstance(document, dict):
        raise ImportProblemsError([f"{path} holds no JSON object, and config.json is one"])
    return document


def _parsed(content: bytes) -> Any:
    """Return the JSON document. Raise `ValueError`, whose text continues the name of the file."""
    try:
        return json.loads(content.decode("utf-8-sig"), object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(
            f"is no JSON: {error.msg} at line {error.lineno}, column {error.colno}; look for a "
            "comma that is missing or too many on the line before, and remove comments"
        ) from None
    except RecursionError:
        raise ValueError("is nested too deeply: no config.json is") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise ValueError(f"has the name {_shown(name)} twice in one object; give it once")
        members[name] = value
    return members


def _refuse_other_files(document: Mapping[Any, Any], path: Path) -> None:
    """Raise `ImportProblemsError` for a file that is something else."""
    if "broker" in document or "worker" in document:
        problem = f"{path} is a config.json of Slidelane already; it can be used as it is"
    elif "data" in document and "type" in document:
        problem = f"{path} is an order of Kue; give the config.json of DynamicServices"
    elif _SECTIONS.isdisjoint(document):
        problem = (
            f"{path} is no config.json of DynamicServices: "
            "it has none of orders, images and annotations"
        )
    else:
        return
    raise ImportProblemsError([problem])


def _leaves(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield key and value of what is no known section, each section's members in its place."""
    for name, value in document.items():
        key = prefix + name
        if key in _SECTIONS and isinstance(value, dict):
            yield from _leaves(value, f"{key}.")
        else:
            yield key, value


def _problems_of_text(key: str, text: str) -> list[str]:
    """Return what is wrong with a value: placeholders, and what no setting of that kind holds."""
    placeholders = sorted(set(_PLACEHOLDER.findall(text)))
    if placeholders:
        shown = placeholders[0][:40]
        variable = shown.strip("@")
        problem = (
            f"{key} holds the placeholder {shown}: put the host's name in its place "
            f"(run.sh was to take it from the environment variable {variable})"
        )
        return [problem]
    if len(text) > _MOST_TEXT or not text.isprintable():
        return [f"{key} must be printable text of at most {_MOST_TEXT} characters"]
    return []


def _shown(key: str) -> str:
    """Return the name of a key as it may be printed: no name of a setting looks otherwise."""
    if _SHOWN_KEY.fullmatch(key):
        return key
    return "(a name that is no word)"
