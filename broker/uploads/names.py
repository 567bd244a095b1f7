"""Names of uploaded files, as the caller gives them and as they are used on the disk."""

import hashlib
import re
import unicodedata
from pathlib import PurePosixPath
from typing import Final

from broker.errors import OrderError

MAX_FOLDERS: Final = 16
_MAX_STEM_BYTES: Final = 112
"""With a suffix that is kept at most 120: some file systems take no more than 143."""
_DIGEST_CHARS: Final = 12
_NO_NAME: Final = "file"
_NO_PART: Final = "_"
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff:*?\"<>|]")
_KEPT_SUFFIXES: Final = frozenset(
    {
        *(".svs", ".tif", ".tiff", ".ndpi", ".scn", ".mrxs", ".bif", ".vms", ".vmu", ".ngr"),
        *(".svslide", ".czi", ".dcm", ".zip", ".png", ".jpg", ".jpeg", ".jp2", ".j2k", ".webp"),
        *(".bmp", ".ini", ".dat", ".opt", ".xml", ".txt", ".jxr"),
    }
)
"""Readers find the files of a slide by them. Any other suffix becomes a part of the stem."""


def safe_name(given: str) -> PurePosixPath:
    """Return the name as a relative path of as many folders and a file.

    No part is `.`, `..` or hidden, or longer than 120 bytes; none holds a character that controls
    a terminal or that some file system refuses. A part that is changed for that ends in a digest
    of what was given, so that parts that differ stay different. A folder and the stem of a file
    are changed alike: an MRXS slide stays beside its folder. Letters are composed (NFC), so that
    a file finds the folder of its name whoever encoded them.

    Raise `OrderError` for more than 16 folders: with some of them left out, an MRXS slide would
    not be beside its folder any more.
    """
    text = unicodedata.normalize("NFC", given.replace("\\", "/"))
    parts = [part for part in text.split("/") if part not in {"", "."}]
    if not parts:
        return PurePosixPath(_NO_NAME)
    if len(parts) > MAX_FOLDERS + 1:
        raise OrderError(
            "request_invalid",
            f"filename: it has {len(parts) - 1} folders, and at most {MAX_FOLDERS} are taken",
            hint="name the file as it lies below the folder of the slide",
            field="Upload-Metadata",
        )
    folders = [_safe_stem(part) for part in parts[:-1]]
    return PurePosixPath(*folders, _safe_file(parts[-1]))


def distinct_name(name: PurePosixPath, given: str) -> PurePosixPath:
    """Return `name` with a digest of the whole given name, where another file has `name`."""
    stem, suffix = _split(name.name)
    return name.with_name(_marked(stem, given) + suffix)


def _safe_file(part: str) -> str:
    stem, suffix = _split(part)
    if suffix:
        return _safe_stem(stem) + suffix
    # Another suffix may make a program of it.
    before, dot, after = part.rpartition(".")
    if dot:
        return _safe_stem(part, f"{before}_{after}")
    return _safe_stem(part)


def _split(name: str) -> tuple[str, str]:
    """Return stem and suffix; the suffix is empty where it is not one of `_KEPT_SUFFIXES`."""
    stem, _, suffix = name.rpartition(".")
    if stem and f".{suffix.lower()}" in _KEPT_SUFFIXES:
        return stem, f".{suffix}"
    return name, ""


def _safe_stem(given: str, wanted: str | None = None) -> str:
    """Return `given` or, where it is another, `wanted`, without what is unsafe."""
    if wanted is None:
        wanted = given
    clean = _UNSAFE.sub("_", wanted).strip().lstrip(".").strip() or _NO_PART
    if clean == given and len(clean.encode()) <= _MAX_STEM_BYTES:
        return clean
    return _marked(clean, given)


def _marked(stem: str, given: str) -> str:
    """Return the stem, as much of it as there is room for, with a digest of the given name."""
    digest = hashlib.sha256(given.encode(errors="surrogatepass")).hexdigest()[:_DIGEST_CHARS]
    kept = stem.encode()[: _MAX_STEM_BYTES - _DIGEST_CHARS - 1].decode(errors="ignore")
    return f"{kept}~{digest}"
