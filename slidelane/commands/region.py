"""`--roi`: the region of a slide as people write it on a command line or in a table."""

import argparse
import json
import re
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from broker.orders.roi import Roi

HELP: Final = (
    "X,Y,W,H in level-0 pixels; pct:X,Y,W,H in percent; square; full; points X,Y X,Y X,Y of a "
    "polygon; or a GeoJSON file"
)
_MOST_BYTES: Final = 10 * 2**20
_NUMBER: Final = r"-?\d+(?:\.\d+)?"
_POINTS: Final = re.compile(rf"{_NUMBER},{_NUMBER}(?:[\s;]+{_NUMBER},{_NUMBER})+")
_FOUR: Final = re.compile(rf"{_NUMBER}(?:,{_NUMBER}){{3}}")
_ROIS: Final[TypeAdapter[Roi]] = TypeAdapter(Roi)
_POLYGONS: Final = ("Polygon", "MultiPolygon")


def region(text: str) -> Roi:
    """Return the region. Raise `argparse.ArgumentTypeError`, which says what is wrong with it."""
    try:
        # Of JSON, for only then do pydantic's strict types take a list for a tuple.
        return _ROIS.validate_json(json.dumps(_document(text.strip())))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"][1:])
        message = first["msg"]
        if place:
            message = f"{place}: {message}"
        raise argparse.ArgumentTypeError(f"{text[:64]!r} is no region: {message}") from None
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text[:64]!r} is no region: {error}") from None


def _document(text: str) -> Any:
    """Return the region as an order has it. Raise `ValueError`."""
    if text in ("full", "square"):
        return text
    if text.startswith("{"):
        return _of_json(json.loads(text))
    if text.startswith("pct:") and _FOUR.fullmatch(text[4:]):
        return {"pct": [float(number) for number in text[4:].split(",")]}
    if _FOUR.fullmatch(text):
        return _rectangle(text)
    if _POINTS.fullmatch(text):
        points = re.split(r"[\s;]+", text)
        return {"polygon": [[float(number) for number in point.split(",")] for point in points]}
    return _of_json(_read(Path(text)))


def _rectangle(text: str) -> dict[str, int]:
    if "." in text:
        raise ValueError("level-0 pixels of a box are whole numbers")
    x, y, width, height = (int(number) for number in text.split(","))
    return {"x": x, "y": y, "width": width, "height": height}


def _read(path: Path) -> Any:
    """Return the JSON in the file. Raise `ValueError`."""
    try:
        if not path.is_file():
            raise ValueError(f"there is no such file; write {HELP}")
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"a file with a region has at most {_MOST_BYTES:,} bytes")
        return json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(f"it cannot be read ({error.strerror})") from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _of_json(document: Any) -> Any:
    """Return the region of a GeoJSON object, or of one that is a region already."""
    if not isinstance(document, dict):
        raise ValueError("GeoJSON is an object")  # noqa: TRY004 - one error for wrong JSON
    kind = document.get("type")
    if kind is None:
        return document
    if kind == "FeatureCollection":
        features = document.get("features")
        if not isinstance(features, list) or len(features) != 1:
            raise ValueError("a FeatureCollection must hold one Feature; unite what belongs to it")
        return _of_json(features[0])
    if kind == "Feature":
        return _of_json(document.get("geometry"))
    if kind in _POLYGONS:
        return {"geojson": document}
    raise ValueError(f"GeoJSON's {str(kind)[:32]!r} is no {' or '.join(_POLYGONS)}")
