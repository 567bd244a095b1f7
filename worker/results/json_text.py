"""Findings in the words of other programs. Only here coordinates are rounded; nothing here sends anything."""

import json
from typing import Any

import orjson

from worker.geometry.frame import Floats


def strict_json(document: Any, indent: int | None = None) -> bytes:
    """The same document as the same bytes: ASCII, keys sorted. Raises `ValueError` on NaN and infinity.

    ASCII, because Caracal decodes a body chunk by chunk and breaks characters that lie across two.
    """
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(
        document, sort_keys=True, allow_nan=False, separators=separators, indent=indent
    )
    return text.encode("ascii")


def numbers_json(numbers: Floats | list[float]) -> str:
    """Coordinates as JSON, each with as many digits as tell it from others. They must be finite."""
    return orjson.dumps(numbers, option=orjson.OPT_SERIALIZE_NUMPY).decode()
