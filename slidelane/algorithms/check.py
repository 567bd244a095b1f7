"""The check of what an algorithm answers. The worker calls the same function as an author's test.

Arrays are looked at through their own methods, so that numpy need not be imported.
"""

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from os import PathLike
from typing import Any, Final

from slidelane.algorithms.card import Card
from slidelane.algorithms.errors import AnswerError
from slidelane.algorithms.features import check_geojson
from slidelane.algorithms.interface import Found, Result

__all__ = ["AnswerError", "check_answer"]

TOLERANCE: Final = 1e-3
"""By how much a probability may leave 0 to 1."""
_LEAST_POINTS: Final = 3


def check_answer(card: Card, answer: Any, tiles: int) -> None:
    """Raise AnswerError, which names the place, for an answer that no result can be made of.

    `tiles` is how many tiles `classify` was given; 0 stands for the answer of an `ImageFunction`.
    """
    if not tiles:
        _check_image_answer(card, answer)
        return
    if answer is None:
        raise AnswerError("answer", "classify returned nothing")
    if card.output == "tiles":
        _check_tiles(card, array_of(answer), tiles)
    elif card.output == "mask":
        _check_mask(card, array_of(answer), tiles)
    elif card.output == "objects":
        _check_lists(card, answer, tiles)
    elif card.output == "embeddings":
        _check_embeddings(array_of(answer), tiles)
    else:
        raise AnswerError("answer", f"nothing is classified tile by tile for {card.output!r}")


def array_of(answer: Any) -> Any:
    """Return the numpy array that an answer is or turns into."""
    if not hasattr(answer, "__array__"):
        raise AnswerError(
            "answer", f"a {type(answer).__name__} is no array; return a numpy array or a CPU tensor"
        )
    try:
        return answer.__array__()
    except (TypeError, RuntimeError, ValueError) as error:
        raise AnswerError("answer", f"it does not turn into a numpy array: {error}") from None


def _check_tiles(card: Card, array: Any, tiles: int) -> None:
    expected = (tiles, len(card.classes))
    if tuple(array.shape) != expected:
        raise AnswerError(
            "answer",
            f"its shape is {tuple(array.shape)}; {tiles} tiles and {len(card.classes)} classes "
            f"make {expected}",
        )
    _check_floats(array)
    _check_probabilities(array)


def _check_mask(card: Card, array: Any, tiles: int) -> None:
    shape = tuple(array.shape)
    if array.dtype.kind in "biu":
        if len(shape) != 3 or shape[0] != tiles:
            raise AnswerError(
                "answer", f"its shape is {shape}; class numbers are ({tiles}, height, width)"
            )
        _check_crop(card, shape)
        _check_class_numbers(card, array)
        return
    classes = len(card.classes)
    if len(shape) != 4 or shape[:2] != (tiles, classes):
        raise AnswerError(
            "answer",
            f"its shape is {shape}; probabilities are ({tiles}, {classes}, height, width), for "
            f"{tiles} tiles and {classes} classes",
        )
    _check_crop(card, shape)
    _check_floats(array)
    _check_probabilities(array)


def _check_class_numbers(card: Card, array: Any) -> None:
    lowest = int(array.min())
    highest = int(array.max())
    most = max(1, len(card.classes) - 1)
    if lowest < 0 or highest > most:
        raise AnswerError(
            "answer", f"class numbers from {lowest} to {highest}; the card has 0 to {most}"
        )


def _check_crop(card: Card, shape: tuple[int, ...]) -> None:
    height, width = shape[-2:]
    covered_px = width * int(card.post.get("output_stride", 1))
    left_px = card.input_px - covered_px
    if not width or height != width or left_px < 0 or left_px % 2:
        raise AnswerError(
            "answer",
            f"its shape is {shape}; the last two must be equal and leave an even number of the "
            f"tile's {card.input_px} pixels",
        )
    if left_px // 2 > card.halo_px:
        raise AnswerError(
            "answer",
            f"its shape is {shape}: {left_px // 2} pixels on each side have no answer, and "
            f"the card's halo_px is {card.halo_px}",
        )


def _check_embeddings(array: Any, tiles: int) -> None:
    shape = tuple(array.shape)
    if len(shape) != 2 or shape[0] != tiles or not shape[1]:
        raise AnswerError("answer", f"its shape is {shape}; a vector for each of {tiles} tiles")
    _check_floats(array)


def _check_floats(array: Any) -> None:
    if array.dtype.kind != "f":
        raise AnswerError("answer", f"its type is {array.dtype}; floating-point is required")
    if array.size and not (isfinite(array.min()) and isfinite(array.max())):
        raise AnswerError("answer", "it holds NaN or infinity")


def _check_probabilities(array: Any) -> None:
    if not array.size:
        return
    lowest = float(array.min())
    highest = float(array.max())
    if lowest < -TOLERANCE or highest > 1 + TOLERANCE:
        raise AnswerError(
            "answer", f"numbers from {lowest:g} to {highest:g} are no probabilities, 0 to 1"
        )


def _check_lists(card: Card, answer: Any, tiles: int) -> None:
    if not is_sequence(answer) or len(answer) != tiles:
        given = type(answer).__name__
        if is_sequence(answer):
            given = f"{given} of {len(answer)}"
        raise AnswerError("answer", f"a {given}; one list of Found for each of {tiles} tiles")
    for number, found in enumerate(answer):
        check_found(card, found, f"answer[{number}]")
        _check_names(card, found, f"answer[{number}]")


def check_found(card: Card, found: Any, place: str) -> None:
    """Raise AnswerError unless `found` is a sequence of `Found` of the card's classes."""
    if not is_sequence(found):
        raise AnswerError(place, f"a {type(found).__name__} is no list of Found")
    names = {entry.name for entry in card.classes}
    for number, one in enumerate(found):
        if not isinstance(one, Found):
            raise AnswerError(f"{place}[{number}]", f"a {type(one).__name__} is no Found")
        _check_one(card, names, one, f"{place}[{number}]")


def _check_names(card: Card, found: Sequence[Found], place: str) -> None:
    """Raise AnswerError unless each object has the measurements that the card names."""
    names = set(card.measurements)
    for number, one in enumerate(found):
        if one.measurements.keys() != names:
            raise AnswerError(
                f"{place}[{number}].measurements",
                f"there are {', '.join(one.measurements) or 'none'}; "
                f"the card's measurements are {', '.join(card.measurements) or 'none'}",
            )


def _check_one(card: Card, names: set[str], found: Found, place: str) -> None:
    check_number(found.x, f"{place}.x")
    check_number(found.y, f"{place}.y")
    check_number(found.score, f"{place}.score")
    if not -TOLERANCE <= found.score <= 1 + TOLERANCE:
        raise AnswerError(f"{place}.score", f"{found.score:g} is no score, 0 to 1")
    _check_kind(card, names, found.kind, f"{place}.kind")
    if found.outline is not None:
        _check_outline(found.outline, f"{place}.outline")
    if found.measurements:
        _check_measurements(found.measurements, f"{place}.measurements")


def _check_kind(card: Card, names: set[str], kind: Any, place: str) -> None:
    if isinstance(kind, str):
        if names and kind not in names:
            known = ", ".join(list(names)[:8])
            raise AnswerError(place, f"{kind[:80]!r} is no class of the card; there are: {known}")
        if not kind:
            raise AnswerError(place, "the name of a class is never empty")
        return
    if not hasattr(kind, "__index__") or isinstance(kind, bool):
        raise AnswerError(place, f"{kind!r} is neither the number nor the name of a class")
    if not 0 <= kind < len(card.classes):
        raise AnswerError(place, f"class {kind} of {len(card.classes)}")


def _check_outline(outline: Any, place: str) -> None:
    shape = getattr(outline, "shape", None)
    if shape is not None:
        _check_outline_array(outline, tuple(shape), place)
        return
    if not is_sequence(outline) or len(outline) < _LEAST_POINTS:
        raise AnswerError(place, f"a ring has {_LEAST_POINTS} points (x, y) at least")
    for number, point in enumerate(outline):
        shape_of_point = getattr(point, "shape", None)
        if (shape_of_point is None and not is_sequence(point)) or len(point) != 2:
            raise AnswerError(f"{place}[{number}]", "it is no point (x, y)")
        check_number(point[0], f"{place}[{number}]")
        check_number(point[1], f"{place}[{number}]")


def _check_outline_array(outline: Any, shape: tuple[int, ...], place: str) -> None:
    if len(shape) != 2 or shape[1] != 2 or shape[0] < _LEAST_POINTS:
        raise AnswerError(place, f"its shape is {shape}; a ring is (points, 2), 3 points at least")
    if outline.dtype.kind not in "fiu":
        raise AnswerError(place, f"its type is {outline.dtype}; numbers are required")
    if not isfinite(outline.sum(dtype=float)):
        raise AnswerError(place, "it holds NaN or infinity")


def _check_measurements(measurements: Any, place: str) -> None:
    if not isinstance(measurements, Mapping):
        raise AnswerError(place, "a dictionary of numbers is required")
    for name, value in measurements.items():
        if not isinstance(name, str) or not name:
            raise AnswerError(place, f"{name!r} is no name")
        check_number(value, f"{place}[{name!r}]")


def check_number(value: Any, place: str) -> None:
    """Raise AnswerError unless the value is a finite number."""
    if isinstance(value, float | int):
        if not isfinite(value):
            raise AnswerError(place, f"{value!r} is not finite")
        return
    if isinstance(value, str | bytes) or not hasattr(value, "__float__"):
        raise AnswerError(place, f"{str(value)[:80]!r} is no number")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise AnswerError(place, f"{str(value)[:80]!r} is no number") from None
    if not isfinite(number):
        raise AnswerError(place, f"{number!r} is not finite")


def is_sequence(value: Any) -> bool:
    """Return whether it is a list, a tuple or the like, and no text."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)


def _check_image_answer(card: Card, answer: Any) -> None:
    if answer is None:
        raise AnswerError("answer", "process_image returned nothing; return [] for no findings")
    if isinstance(answer, str | PathLike):
        return  # the file is read, and then its content is checked
    if isinstance(answer, Result):
        _check_result(card, answer)
        return
    if isinstance(answer, Mapping):
        _check_mapping(card, answer)
        return
    if not is_sequence(answer):
        raise AnswerError(
            "answer",
            f"a {type(answer).__name__} is no result; return GeoJSON, a list of Found, a Result, "
            "or the path of a file",
        )
    if any(isinstance(one, Found) for one in answer):
        check_found(card, answer, "answer")
    else:
        check_geojson(card, answer)


def _check_mapping(card: Card, answer: Mapping[str, Any]) -> None:
    """Check GeoJSON here; of Techcyte's body only what is found, for the worker knows its rules."""
    if answer.get("type") in ("FeatureCollection", "Feature"):
        check_geojson(card, answer)
        return
    entry = techcyte_entry(answer)
    if entry is None:
        raise AnswerError(
            "answer",
            "a dictionary is a FeatureCollection, a Feature or Techcyte's scanResults; this one "
            f"has the keys {', '.join(map(str, list(answer)[:8])) or 'of none'}",
        )
    if "geojson" in entry:
        check_geojson(card, entry["geojson"], place="geojson.")


def techcyte_entry(answer: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the one scan of a body of Techcyte's external results, None if it is no such body."""
    if "scanResults" in answer:
        entries = answer["scanResults"]
        if not is_sequence(entries) or len(entries) != 1 or not isinstance(entries[0], Mapping):
            raise AnswerError("scanResults", "a list with the one scan is required")
        entry: Mapping[str, Any] = entries[0]
        return entry
    if {"results", "geojson", "workflow"} & set(answer):
        return answer
    return None


def _check_result(card: Card, result: Result) -> None:
    check_found(card, result.objects, "objects")
    if result.geojson is not None:
        check_geojson(card, result.geojson, place="geojson.")
    if not isinstance(result.headline, str):
        raise AnswerError("headline", "a text is required")
    check_figures(result.summary, "summary")
    if not isinstance(result.files, Mapping):
        raise AnswerError("files", "a dictionary of names and paths is required")
    for number, warning in enumerate(result.warnings):
        if not is_sequence(warning) or len(warning) != 2:
            raise AnswerError(f"warnings[{number}]", "a pair (code, detail) is required")


def check_figures(summary: Any, place: str) -> None:
    """Raise AnswerError unless it is a dictionary fit for JSON, without NaN or infinity."""
    if not isinstance(summary, Mapping):
        raise AnswerError(place, f"a {type(summary).__name__} is no dictionary")
    try:
        json.dumps(dict(summary), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise AnswerError(place, f"it is not fit for JSON: {error}") from None
