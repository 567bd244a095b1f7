"""Checks the flat zip of a QuIP segmentation as the importer behind the annotation loader reads it.

Shares no code with the worker's writer of the format, so that both cannot make the same mistake.
"""

import csv
import io
import json
import math
import re
import zipfile
import zlib
from collections import defaultdict
from itertools import pairwise
from typing import Any

MAX_MEMBERS = 1000
MAX_UNPACKED_BYTES = 2**30
MAX_META_BYTES = 2**20
MEMBER = re.compile(r"(?P<prefix>.+\..+\.[^./]+_mpp_[0-9.]+_x\d+_y\d+)-(?P<part>[a-z]+\.[a-z]+)")
PARTS = frozenset(
    {"algmeta.json", "algmeta.csv", "features.csv", "seg.png", "tile.jpg", "overlay.jpg"}
)
TEXT_FIELDS = ("case_id", "subject_id", "analysis_id", "analysis_desc", "out_file_prefix")
SIZE_FIELDS = ("image_width", "image_height", "mpp")


def check_zip(content: bytes) -> int:
    """Return the number of polygons. Raise `ValueError` with the member and the broken rule."""
    polygons = 0
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for prefix, parts in _members(archive).items():
                polygons += _check_segmentation(archive, prefix, parts)
    except (zipfile.BadZipFile, zlib.error, csv.Error, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"the zip cannot be read: {error}") from error
    return polygons


def _members(archive: zipfile.ZipFile) -> dict[str, set[str]]:
    """Return the parts by prefix. Raise `ValueError` for any other member: the zip is flat."""
    parts_of: dict[str, set[str]] = defaultdict(set)
    members = archive.infolist()
    unpacked_bytes = sum(member.file_size for member in members)
    if not 1 <= len(members) <= MAX_MEMBERS or unpacked_bytes > MAX_UNPACKED_BYTES:
        raise ValueError("the zip is empty or too large")
    for name in archive.namelist():
        match = MEMBER.fullmatch(name)
        if (
            match is None
            or match["part"] not in PARTS
            or match["part"] in parts_of[match["prefix"]]
        ):
            raise ValueError(f"{name}: not a member the importer knows, or there twice")
        parts_of[match["prefix"]].add(match["part"])
    return parts_of


def _check_segmentation(archive: zipfile.ZipFile, prefix: str, parts: set[str]) -> int:
    """Return the number of polygons; 0 where there is only a mask because nothing was found."""
    if "seg.png" in parts:
        head = _head(archive, f"{prefix}-seg.png")
        if not head.startswith(b"\x89PNG\r\n\x1a\n"):
            raise ValueError(f"{prefix}-seg.png: not a PNG")
    tables = parts & {"algmeta.json", "algmeta.csv", "features.csv"}
    if not tables:
        return 0
    if len(tables) < 3:
        raise ValueError(f"{prefix}: algmeta.json, algmeta.csv and features.csv come together")
    meta = _read_algmeta(_head(archive, f"{prefix}-algmeta.json"), f"{prefix}-algmeta.json")
    if meta["out_file_prefix"] != prefix:
        raise ValueError(f"{prefix}-algmeta.json: out_file_prefix is {meta['out_file_prefix']!r}")
    _check_algmeta_csv(_head(archive, f"{prefix}-algmeta.csv"), f"{prefix}-algmeta.csv")
    with archive.open(f"{prefix}-features.csv") as member:
        lines = io.TextIOWrapper(member, "utf-8", newline="")
        return _check_features(lines, meta, f"{prefix}-features.csv")


def _head(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return the first bytes of the member, which are all of an algmeta of any plausible size."""
    with archive.open(name) as member:
        return member.read(MAX_META_BYTES)


def _read_algmeta(content: bytes, name: str) -> dict[str, Any]:
    """Return the fields of one line of JSON: five texts, and the image's size in pixels and µm."""
    text = content.decode("utf-8").removesuffix("\n")
    if "\n" in text or "\r" in text:
        raise ValueError(f"{name}: more than one line")
    meta = json.loads(text)
    if not isinstance(meta, dict):
        meta = {}
    for key in TEXT_FIELDS:
        if not isinstance(meta.get(key), str) or not meta[key]:
            raise ValueError(f"{name}: {key} must be a string")
    for key in SIZE_FIELDS:
        if _number(str(meta.get(key, "")), f"{name}: {key}") <= 0:
            raise ValueError(f"{name}: {key} must be above 0")
    return meta


def _check_algmeta_csv(content: bytes, name: str) -> None:
    rows = list(csv.reader(io.StringIO(content.decode("utf-8"))))
    if len(rows) != 2 or len(rows[0]) != len(rows[1]) or "" in rows[0]:
        raise ValueError(
            f"{name}: a header and one row of the same columns are needed, without a trailing comma"
        )


def _check_features(lines: io.TextIOWrapper, meta: dict[str, Any], name: str) -> int:
    """Return the number of rows, each of which holds one polygon."""
    rows = csv.reader(lines)
    header = next(rows, [])
    if header[:1] != ["AreaInPixels"] or header[-1:] != ["Polygon"] or "" in header:
        raise ValueError(
            f"{name}: the columns start with AreaInPixels and end with Polygon, "
            "without a trailing comma"
        )
    count = 0
    for count, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise ValueError(
                f"{name}: row {count} has {len(row)} columns, the header {len(header)}"
            )
        for column, value in zip(header[:-1], row, strict=False):
            _number(value, f"{name}: {column} of row {count}")
        _check_polygon(row[-1], meta, f"{name}: Polygon of row {count}")
    if count == 0:
        raise ValueError(f"{name}: no row; where nothing was found there is no features.csv")
    return count


def _check_polygon(text: str, meta: dict[str, Any], where: str) -> None:
    """Check `[x1:y1:x2:y2:...]` in level-0 pixels.

    The importer divides by the size of the image, so every point must lie inside it. It overwrites
    the last point of a large ring with the first, so every ring must be closed.
    """
    if not (text.startswith("[") and text.endswith("]")):
        raise ValueError(f"{where}: not in square brackets")
    if not re.fullmatch(r"[0-9.:]+", text[1:-1]):
        raise ValueError(f"{where}: only digits, full stops and colons are read")
    numbers = [_number(part, where) for part in text[1:-1].split(":")]
    points = list(zip(numbers[::2], numbers[1::2], strict=False))
    if len(numbers) % 2 or len(points) < 3 or all(a == b for a, b in pairwise(points)):
        raise ValueError(f"{where}: three points or more are needed, each an x and a y")
    if points[0] != points[-1]:
        raise ValueError(f"{where}: the ring is not closed")
    width_px = float(meta["image_width"])
    height_px = float(meta["image_height"])
    for x, y in points:
        if not (0 <= x <= width_px and 0 <= y <= height_px):
            raise ValueError(f"{where}: outside the image")


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{where}: {text!r} is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"{where}: {text!r} is not a number")
    return value
