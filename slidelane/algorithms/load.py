"""Reads the card of an algorithm from its folder or file."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any, Final

from slidelane.algorithms.card import Card, CardError, Class, check_card

_FILES: Final = ("algorithm.py", "model.json", "config.json")


def load_card(folder_or_file: str | Path) -> Card:
    """Return the card of `algorithm.py` or `model.json` in a folder, or of `FILE.py:NAME`.

    A Python file is executed. Without a name its class `Algorithm` or its function `process_image`
    is taken. Raises CardError, and OSError where there is no such file.
    """
    text = str(folder_or_file)
    file_text, separator, name = text.rpartition(":")
    if not separator or not file_text.endswith(".py"):
        file_text = text
        name = ""
    path = Path(file_text)
    if path.is_dir():
        path = _file_in(path)
    if path.suffix == ".json":
        return _card_of_json(path)
    return card_of(_imported(path), name)


def card_of(module: Any, name: str) -> Card:
    """Return the card of the object `name` of a module; without a name, of the usual ones."""
    names = ("Algorithm", "process_image")
    if name:
        names = (name,)  # type: ignore[assignment]
    for one in names:
        target = getattr(module, one, None)
        if target is None:
            continue
        card = getattr(target, "card", None) or getattr(module, "CARD", None)
        if card is None:
            return Card(title=one, output="objects")
        if not isinstance(card, Card):
            raise CardError(f"card: a {type(card).__name__} is no Card")
        check_card(card)
        return card
    raise CardError(f"{' or '.join(names)}: there is no such name in {module.__name__}")


def _file_in(folder: Path) -> Path:
    for name in _FILES:
        if (folder / name).is_file():
            return folder / name
    raise CardError(f"{folder} holds neither {', '.join(_FILES[:-1])} nor {_FILES[-1]}")


def _imported(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"there is no Python file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module


def _card_of_json(path: Path) -> Card:
    """Return what model.json says in the words of a card; the worker checks the rest of it."""
    try:
        fields = json.loads(path.read_bytes())
        classes = tuple(_class_of(entry) for entry in _class_entries(fields))
        return Card(
            title=fields.get("title") or fields.get("architecture") or path.parent.name,
            output=fields.get("output", "tiles"),
            classes=classes,
            mpp=fields.get("mpp", fields.get("spacing_um_px")),
            input_px=fields.get("input_px", fields.get("patch_size_pixels", 512)),
            halo_px=fields.get("halo_px", 0),
            overlap_px=fields.get("overlap_px", 0),
            stains=tuple(fields.get("stains", ())),
            description=fields.get("description", ""),
            version=str(fields.get("version", "0")),
            license=fields.get("license", ""),
            citation=fields.get("citation", ""),
        )
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise CardError(f"{path.name}: {error}") from None


def _class_entries(fields: Any) -> Any:
    return fields.get("classes", fields.get("class_names", ()))


def _class_of(entry: Any) -> Class:
    if isinstance(entry, str):
        return Class(entry)
    return Class(
        entry["name"],
        entry.get("color", ""),
        entry.get("annotation_type", ""),
        entry.get("title", ""),
        entry.get("background", False),
    )
