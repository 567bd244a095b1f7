"""Imports what an `entry` of the settings names, and finds out how it is to be called.

Runs in the processes for a site's code only.
"""

import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from slidelane.algorithms import Card, CardError
from slidelane.algorithms.card import check_card

FORM: Final = '"package.module:name" or "/path/file.py:name"'
_SHOWN_CHARS: Final = 300
_MOST_FRAMES: Final = 20


class EntryError(Exception):
    """An entry that names nothing that can be run. The message says which part is wrong."""


@dataclass(frozen=True, slots=True)
class SiteCode:
    """What an entry names: a `TileModel` or an `ImageFunction`, its card, and its files."""

    target: Any
    card: Card
    has_card: bool
    is_tile_model: bool
    files: tuple[Path, ...]

    @property
    def threads(self) -> int:
        """How many threads may be in `classify` at the same time."""
        return int(getattr(self.target, "threads", 1))

    @property
    def source_file(self) -> str:
        """The file in which it is defined."""
        return str(self.files[0])


def import_entry(entry: str) -> SiteCode:
    """Import the module and return what the entry names; a class is made without arguments.

    Raises EntryError.
    """
    place, _, name = entry.rpartition(":")
    if not place or not name:
        raise EntryError(f"{entry!r} is not of the form {FORM}")
    module = _import(place)
    target = getattr(module, name, None)
    if target is None:
        raise EntryError(f"{place} has no name {name!r}")
    if inspect.isclass(target):
        target = _made(target)
    is_tile_model = callable(getattr(target, "classify", None))
    if not is_tile_model and not callable(target):
        raise EntryError(f"{name} has no method `classify`, and cannot be called either")
    found = getattr(target, "card", None) or getattr(module, "CARD", None)
    card = _checked_card(found, name, is_tile_model=is_tile_model)
    return SiteCode(target, card, found is not None, is_tile_model, _files_of(module))


def digest(files: tuple[Path, ...]) -> str:
    """Return a digest of the contents of these files."""
    return hashlib.sha256(b"\0".join([file.read_bytes() for file in files])).hexdigest()


def where_raised(error: BaseException, source_file: str) -> str:
    """Return `file.py:LINE: Type: message` of the innermost frame in the author's files.

    These are the files in the folder of `source_file`; no path is shown, only names of files.
    """
    message = " ".join(str(error).split())[:_SHOWN_CHARS]
    described = f"{type(error).__name__}: {message}"
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno}: {type(error).__name__}: {error.msg}"
    folder = Path(source_file).parent
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if file.parent == folder:
            return f"{file.name}:{frame.lineno}: {described}"
    return described


def own_lines(error: BaseException, source_file: str) -> list[str]:
    """Return the traceback as Python prints it, of the frames in the author's files alone.

    The last line is the error. No path is shown, only names of files; at most the innermost
    `_MOST_FRAMES` frames.
    """
    folder = Path(source_file).parent
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).parent == folder][-_MOST_FRAMES:]
    lines = []
    for frame in own:
        lines.append(f"{Path(frame.filename).name}:{frame.lineno}, in {frame.name}")
        if frame.line:
            lines.append(f"    {frame.line[:_SHOWN_CHARS]}")
    message = " ".join(str(error).split())[:_SHOWN_CHARS]
    lines.append(f"{type(error).__name__}: {message}")
    return lines


def _import(place: str) -> ModuleType:
    path = Path(place)
    if place.endswith(".py"):
        if not path.is_file():
            raise EntryError(f"there is no file {place}")
        sys.path.insert(0, str(path.parent))  # its neighbours are imported by their names
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise EntryError(f"{place} is no Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        _run(spec.loader.exec_module, module, source_file=place)
        return module
    imported: ModuleType = _run(importlib.import_module, place, source_file=place)
    return imported


def _made(target: Any) -> Any:
    return _run(target, source_file=inspect.getsourcefile(target) or "")


def _run(function: Any, *arguments: Any, source_file: str) -> Any:
    """Call what runs code of the site. Raises EntryError for whatever that raises."""
    try:
        return function(*arguments)
    except Exception as error:
        raise EntryError(where_raised(error, source_file)) from error
    except SystemExit as error:
        raise EntryError(f"it exits with {error.code} while it is imported") from error


def _checked_card(card: Any, name: str, *, is_tile_model: bool) -> Card:
    if card is None and not is_tile_model:
        return Card(title=name, output="objects")
    if not isinstance(card, Card):
        raise EntryError(f"{name}.card: a `Card` of slidelane.algorithms is required")
    try:
        check_card(card)
    except CardError as error:
        raise EntryError(f"{name}.card.{error}") from None
    _check_output(card, name, is_tile_model=is_tile_model)
    return card


def _check_output(card: Card, name: str, *, is_tile_model: bool) -> None:
    """Raise EntryError for a card that does not go with its output, or with what it is of."""
    if is_tile_model and card.mpp is None:
        raise EntryError(f"{name}.card.mpp: a TileModel needs it, in microns per pixel")
    if is_tile_model and not card.classes and card.output != "embeddings":
        raise EntryError(f"{name}.card.classes: a TileModel needs one at least")
    if not is_tile_model and card.output == "embeddings":
        raise EntryError(f"{name}.card.output: only a TileModel answers embeddings")
    if card.classes and card.output == "embeddings":
        raise EntryError(f"{name}.card.classes: embeddings have none")
    if is_tile_model and card.output == "report":
        raise EntryError(f"{name}.card.output: a TileModel answers no report")


def _files_of(module: ModuleType) -> tuple[Path, ...]:
    """Return the module's file, then those of all modules beside it that were imported."""
    own = Path(str(module.__file__)).resolve()
    beside = set()
    for other in list(sys.modules.values()):
        file = getattr(other, "__file__", None)
        if isinstance(file, str) and file.endswith(".py"):
            path = Path(file).resolve()
            if path != own and path.is_relative_to(own.parent):
                beside.add(path)
    return (own, *sorted(beside))
