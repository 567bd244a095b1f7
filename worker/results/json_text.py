"""JSON text that is the same bytes for the same content."""

import json
from typing import Any

import orjson

from worker.geometry.frame import Floats


def strict_json(document: Any, indent: int | None = None) -> bytes:
    """Return the document as ASCII JSON with sorted keys.

    ASCII, because Caracal decodes a body chunk by chunk and breaks characters that lie across two.

    Raises ValueError on NaN and infinity.
    """
    separators = (",", ": ")
    if indent is None:
        separators = (",", ":")
    text = json.dumps(
        document, sort_keys=True, allow_nan=False, separators=separators, indent=indent
    )
    return text.encode("ascii")


def numbers_json(numbers: Floats | list[float]) -> str:
    """Return finite numbers as JSON, each with as many digits as distinguish it from others."""
    return orjson.dumps(numbers, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def significant(value: float) -> str:
    """Return a finite number as JSON with the seven digits that a float32 has."""
    return repr(float(f"{value:.7g}"))
