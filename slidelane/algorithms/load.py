"""Reads the card of an algorithm from its folder or file."""

import importlib.util
import inspect
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from slidelane.algorithms.card import Card, CardError, Class, check_card

_FILES: Final = ("algorithm.py", "model.json", "config.json")
POST_KEYS: Final = frozenset(
    {
        "threshold", "keep_background", "multi_label", "smooth", "output_stride", "min_area_um2",
        "max_area_um2", "fill_holes_um2", "simplify_um", "style", "nms_radius_um",
        "nms_across_classes", "nms_iou", "object_um", "layers", "batch_form", "box_format",
        "box_units", "label_offset", "pool", "prefix_tokens", "store", "squares", "bag", "inputs",
        "attention_head", "max_tiles", "scope",
    }
)  # fmt: skip
"""The keys of model.json that say what is done with the answers: the `post` of a card."""


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
        if inspect.isclass(target) and not hasattr(target, "card"):
            target = target()  # its card may be made with it
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
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)  # its neighbours are imported by their names, as in a worker
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
    return module


def _card_of_json(path: Path) -> Card:
    """Return what model.json says in the words of a card; the worker checks the rest of it."""
    try:
        document = json.loads(path.read_bytes())
        fields = {key: value for key, value in document.items() if value is not None}
        input_px = fields.get("input_px", _wsinfer_px(fields))
        output = fields.get("output", "tiles")
        return Card(
            title=fields.get("title") or fields.get("architecture") or path.parent.name,
            output=output,
            classes=tuple(_class_of(entry) for entry in _class_entries(fields)),
            mpp=fields.get("mpp", _wsinfer_mpp(fields, input_px)),
            input_px=input_px,
            halo_px=fields.get("halo_px", _usual_halo_px(output, input_px)),
            overlap_px=fields.get("overlap_px", 0),
            batch=fields.get("batch", 8),
            tissue_only=fields.get("tissue_only", True),
            stains=tuple(fields.get("stains", ())),
            description=fields.get("description", ""),
            version=str(fields.get("version", "0")),
            ruo=fields.get("ruo", True),
            license=fields.get("license", ""),
            citation=fields.get("citation", ""),
            report=fields.get("report", {"type": "Basic"}),
            post={key: value for key, value in fields.items() if key in POST_KEYS},
        )
    except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise CardError(f"{path.name}: {error}") from None


def _usual_halo_px(output: str, input_px: int) -> int:
    """Return the halo where model.json states none; only the network says what it leaves out."""
    if output == "objects":
        return 80
    if output == "mask":
        return input_px // 64 * 8
    return 0


def _wsinfer_px(fields: Mapping[str, Any]) -> int:
    """Return the edge that WSInfer's keys state: that of the last resize, else of the patch."""
    edge: int = fields.get("patch_size_pixels", 512)
    for step in fields.get("transform", ()):
        if step["name"] == "Resize":
            size = step["arguments"]["size"]
            if isinstance(size, list):
                size = size[0]
            edge = size
    return edge


def _wsinfer_mpp(fields: Mapping[str, Any], input_px: int) -> float | None:
    """Return the microns per pixel that WSInfer's keys state, once the patch is resized."""
    spacing: float | None = fields.get("spacing_um_px")
    if spacing is None or "patch_size_pixels" not in fields:
        return spacing
    return float(spacing * fields["patch_size_pixels"] / input_px)


def _class_entries(fields: Any) -> Any:
    return fields.get("classes", fields.get("class_names", ()))


def _class_of(entry: Any) -> Class:
    if isinstance(entry, str):
        return Class(entry)
    return Class(
        entry["name"],
        entry.get("color") or "",
        entry.get("annotation_type") or "",
        entry.get("title", ""),
        entry.get("background", False),
    )
