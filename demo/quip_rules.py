"""What the importer behind the annotation loader can read: the flat zip of a QuIP segmentation, checked to the letter.

Written apart from the worker's own writer of the format, so that a mistake there does not hide here.
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
WORDS = ("case_id", "subject_id", "analysis_id", "analysis_desc", "out_file_prefix")
SIZES = ("image_width", "image_height", "mpp")


def check_zip(parcel: bytes) -> int:
    """The number of polygons in the zip. Raises `ValueError` that names the member and the broken rule."""
    try:
        with zipfile.ZipFile(io.BytesIO(parcel)) as archive:
            return sum(
                _segmentation(archive, prefix, parts) for prefix, parts in _members(archive).items()
            )
    except (zipfile.BadZipFile, zlib.error, csv.Error, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"the zip cannot be read: {error}") from error


def _members(archive: zipfile.ZipFile) -> dict[str, set[str]]:
    """The parts by prefix; the zip is flat and holds nothing else."""
    found: dict[str, set[str]] = defaultdict(set)
    members = archive.infolist()
    if (
        not 1 <= len(members) <= MAX_MEMBERS
        or sum(m.file_size for m in members) > MAX_UNPACKED_BYTES
    ):
        raise ValueError("the zip is empty or too large")
    for name in archive.namelist():
        match = MEMBER.fullmatch(name)
        if match is None or match["part"] not in PARTS or match["part"] in found[match["prefix"]]:
            raise ValueError(f"{name}: not a member the importer knows, or there twice")
        found[match["prefix"]].add(match["part"])
    return found


def _segmentation(archive: zipfile.ZipFile, prefix: str, parts: set[str]) -> int:
    if "seg.png" in parts and not _head(archive, f"{prefix}-seg.png").startswith(
        b"\x89PNG\r\n\x1a\n"
    ):
        raise ValueError(f"{prefix}-seg.png: not a PNG")
    described = parts & {"algmeta.json", "algmeta.csv", "features.csv"}
    if not described:
        return 0  # nothing was found: the mask alone says so
    if len(described) < 3:
        raise ValueError(f"{prefix}: algmeta.json, algmeta.csv and features.csv come together")
    meta = _algmeta(_head(archive, f"{prefix}-algmeta.json"), f"{prefix}-algmeta.json")
    if meta["out_file_prefix"] != prefix:
        raise ValueError(f"{prefix}-algmeta.json: out_file_prefix is {meta['out_file_prefix']!r}")
    _algmeta_csv(_head(archive, f"{prefix}-algmeta.csv"), f"{prefix}-algmeta.csv")
    with archive.open(f"{prefix}-features.csv") as member:
        return _features(
            io.TextIOWrapper(member, "utf-8", newline=""), meta, f"{prefix}-features.csv"
        )


def _head(archive: zipfile.ZipFile, name: str) -> bytes:
    """The member's first bytes: all of any algmeta that makes sense."""
    with archive.open(name) as member:
        return member.read(MAX_META_BYTES)


def _algmeta(content: bytes, name: str) -> dict[str, Any]:
    """One line of JSON with what the importer looks for: five words, and the image's size in pixels and microns."""
    text = content.decode("utf-8").removesuffix("\n")
    if "\n" in text or "\r" in text:
        raise ValueError(f"{name}: more than one line")
    given = json.loads(text)
    meta = dict(given) if isinstance(given, dict) else {}
    for key in WORDS:
        if not isinstance(meta.get(key), str) or not meta[key]:
            raise ValueError(f"{name}: {key} must be a string")
    for key in SIZES:
        if _number(str(meta.get(key, "")), f"{name}: {key}") <= 0:
            raise ValueError(f"{name}: {key} must be above 0")
    return meta


def _algmeta_csv(content: bytes, name: str) -> None:
    rows = list(csv.reader(io.StringIO(content.decode("utf-8"))))
    if len(rows) != 2 or len(rows[0]) != len(rows[1]) or "" in rows[0]:
        raise ValueError(
            f"{name}: a header and one row of the same columns are needed, without a trailing comma"
        )


def _features(lines: io.TextIOWrapper, meta: dict[str, Any], name: str) -> int:
    rows = csv.reader(lines)
    header = next(rows, [])
    if header[:1] != ["AreaInPixels"] or header[-1:] != ["Polygon"] or "" in header:
        raise ValueError(
            f"{name}: the columns start with AreaInPixels and end with Polygon, without a trailing comma"
        )
    count = 0
    for count, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise ValueError(
                f"{name}: row {count} has {len(row)} columns, the header {len(header)}"
            )
        for column, value in zip(header[:-1], row, strict=False):
            _number(value, f"{name}: {column} of row {count}")
        _polygon(row[-1], meta, f"{name}: Polygon of row {count}")
    if count == 0:
        raise ValueError(f"{name}: no row; where nothing was found there is no features.csv")
    return count


def _polygon(text: str, meta: dict[str, Any], where: str) -> None:
    """`[x1:y1:x2:y2:...]` in level-0 pixels, inside the image, because the importer divides by its size."""
    if not (text.startswith("[") and text.endswith("]")):
        raise ValueError(f"{where}: not in square brackets")
    numbers = [_number(part, where) for part in text[1:-1].split(":")]
    points = list(zip(numbers[::2], numbers[1::2], strict=False))
    if len(numbers) % 2 or len(points) < 3 or all(a == b for a, b in pairwise(points)):
        raise ValueError(f"{where}: three points or more are needed, each an x and a y")
    if any(
        not (0 <= x <= float(meta["image_width"]) and 0 <= y <= float(meta["image_height"]))
        for x, y in points
    ):
        raise ValueError(f"{where}: outside the image")


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{where}: {text!r} is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"{where}: {text!r} is not a number")
    return value
