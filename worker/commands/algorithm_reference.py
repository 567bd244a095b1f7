"""What people call an algorithm on a command line: a configured name, a folder, or code in a file.

A folder or file needs no entry in the settings: it gets one with every default.
"""

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from broker.errors import OrderError
from broker.settings.config import AlgorithmSettings, ConfigError
from worker.algorithms.registry import Settings

_DESCRIPTIONS: Final = ("model.json", "config.json")
_CODE: Final = "algorithm.py"
_PROGRAM: Final = "program.json"
_ENTRIES: Final = ("Algorithm", "process_image")
"""What is taken of a folder's `algorithm.py`: the first of these that it defines."""
_MOST_CODE_BYTES: Final = 10**7


@dataclass(frozen=True, slots=True)
class NamedAlgorithm:
    """An algorithm's name, and the settings that have an entry for it."""

    name: str
    settings: Settings

    @property
    def entry(self) -> AlgorithmSettings:
        """The entry of the algorithm."""
        return self.settings[self.name]


def find_algorithm(reference: str, configured: Settings) -> NamedAlgorithm:
    """Return the algorithm that `reference` means.

    That is a name in `configured`; else a folder with model.json, config.json, algorithm.py or
    program.json; else `FILE.py:NAME`. Raise `OrderError("algorithm_unknown")` for anything else,
    and `ConfigError`.
    """
    if reference in configured:
        return NamedAlgorithm(reference, configured)
    folder = Path(reference)
    if folder.is_dir():
        return _in_folder(folder)
    file, colon, entry = reference.rpartition(":")
    if colon and file.endswith(".py") and entry:
        return _code(Path(file), entry)
    if folder.suffix == ".py" and folder.is_file():
        raise OrderError(
            "algorithm_unknown",
            f"{reference[:256]} is a file of code; what is meant in it is not named",
            hint=f"name the class or function: {reference[:256]}:NAME",
            field="algorithm",
        )
    known = ", ".join(sorted(configured)) or "none"
    raise OrderError(
        "algorithm_unknown",
        f"there is no algorithm {reference[:256]!r}: it is no name in worker.algorithms, "
        "no folder, and no FILE.py:NAME",
        hint=f"worker.algorithms has: {known}",
        field="algorithm",
    )


def _in_folder(folder: Path) -> NamedAlgorithm:
    if any((folder / name).is_file() for name in _DESCRIPTIONS):
        entry = {"kind": "weights", "folder": folder.resolve()}
        return _named(folder.resolve().name, entry)
    code = folder / _CODE
    if code.is_file():
        return _code(code, _entry_of(code))
    if (folder / _PROGRAM).is_file():
        return _program(folder.resolve())
    raise OrderError(
        "algorithm_unknown",
        f"{folder} is no algorithm: it holds neither {', '.join(_DESCRIPTIONS)}, {_CODE} nor "
        f"{_PROGRAM}",
        hint="`slidelane algorithm new` makes a folder that works",
        field="algorithm",
    )


def _code(file: Path, entry: str) -> NamedAlgorithm:
    name = file.resolve().stem
    if file.name == _CODE:
        name = file.resolve().parent.name
    return _named(name, {"kind": "python", "entry": f"{file.resolve()}:{entry}"})


def _program(folder: Path) -> NamedAlgorithm:
    """Return the program that the folder's file describes, as an entry of the settings does.

    A part of its command that begins with `./` is a file of the folder.
    """
    file = folder / _PROGRAM
    try:
        entry = json.loads(file.read_bytes()[:_MOST_CODE_BYTES])
        if not isinstance(entry, dict):
            raise ConfigError(f"{file}: an object with `kind` is expected")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: {error}") from None
    command = entry.get("command")
    if isinstance(command, list):
        entry["command"] = tuple(_in_program_folder(folder, part) for part in command)
    return _named(folder.name, entry)


def _in_program_folder(folder: Path, part: Any) -> Any:
    if isinstance(part, str) and part.startswith("./"):
        return str(folder / part)
    return part


def _entry_of(file: Path) -> str:
    """Return the name of what the file defines of `_ENTRIES`, without running it."""
    try:
        if file.stat().st_size > _MOST_CODE_BYTES:
            raise ConfigError(f"{file} is larger than {_MOST_CODE_BYTES} bytes")
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError) as error:
        raise ConfigError(f"{file}: {error}") from None
    defined = {
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    }
    for name in _ENTRIES:
        if name in defined:
            return name
    raise OrderError(
        "algorithm_unknown",
        f"{file} defines neither {' nor '.join(_ENTRIES)}",
        hint=f"name what is meant: {file}:NAME",
        field="algorithm",
    )


def _named(given: str, entry: Mapping[str, Any]) -> NamedAlgorithm:
    name = _card_name(given)
    try:
        return NamedAlgorithm(name, {name: AlgorithmSettings.model_validate(entry)})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ConfigError(f"{given}: {first['msg']}") from None


def _card_name(given: str) -> str:
    """Return a name that a card may have, made from that of a file or folder."""
    name = re.sub(r"[^a-z0-9_-]+", "-", given.lower()).strip("-_")
    if not name or not name[0].isalpha():
        name = f"algorithm-{name}".rstrip("-")
    return name[:64]
