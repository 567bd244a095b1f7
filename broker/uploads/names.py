"""Names of uploaded files, as the caller gives them and as they are used on the disk."""

import re
import unicodedata
from pathlib import PurePosixPath
from typing import Final

MAX_FOLDERS: Final = 4
_MAX_PART_BYTES: Final = 120
_NO_NAME: Final = "file"
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff:*?\"<>|]")
_SUFFIX: Final = re.compile(r"\.[A-Za-z0-9]{1,10}")
_KEPT_SUFFIXES: Final = frozenset(
    {
        *(".svs", ".tif", ".tiff", ".ndpi", ".scn", ".mrxs", ".bif", ".vms", ".vmu", ".ngr"),
        *(".svslide", ".czi", ".dcm", ".zip", ".png", ".jpg", ".jpeg", ".jp2", ".j2k", ".webp"),
        *(".bmp", ".ini", ".dat", ".opt", ".xml", ".txt", ".jxr"),
    }
)
"""Readers find the files of a slide by them. Any other suffix becomes a part of the stem."""


def safe_name(given: str) -> PurePosixPath:
    """Return the name as a relative path: at most four folders and a file.

    No part is `.`, `..` or hidden, or longer than 120 bytes; none holds a character that controls
    a terminal or that some file system refuses. Letters are composed (NFC), so that a file finds
    the folder of its name whoever encoded them.
    """
    text = unicodedata.normalize("NFC", given.replace("\\", "/"))
    parts = [_safe_part(part) for part in text.split("/")]
    parts = [part for part in parts if part]
    if not parts:
        return PurePosixPath(_NO_NAME)
    folders = parts[:-1][-MAX_FOLDERS:]
    return PurePosixPath(*folders, _with_kept_suffix(parts[-1]))


def _safe_part(part: str) -> str:
    """Return one part of a path; empty where nothing is left of it."""
    clean = _UNSAFE.sub("_", part).strip().lstrip(".").strip()
    return _shortened(clean)


def _shortened(part: str) -> str:
    """Return the part in at most `_MAX_PART_BYTES`, its suffix kept."""
    if len(part.encode()) <= _MAX_PART_BYTES:
        return part
    suffix = PurePosixPath(part).suffix
    if not _SUFFIX.fullmatch(suffix):
        suffix = ""
    stem = part.removesuffix(suffix).encode()[: _MAX_PART_BYTES - len(suffix)]
    return stem.decode(errors="ignore") + suffix


def _with_kept_suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    if not dot or f".{suffix.lower()}" in _KEPT_SUFFIXES:
        return name
    return f"{stem}_{suffix}"
