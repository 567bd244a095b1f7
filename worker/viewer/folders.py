"""The folders below which slides may be, one page of one folder at a time.

Nothing is opened: a slide is told by its suffix. What leads out of the folder is not listed.
"""

import base64
import binascii
import heapq
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path, PurePosixPath
from stat import S_ISDIR, S_ISREG
from typing import Any, Final, Literal

from broker.errors import OrderError

Kind = Literal["folder", "slide", "other"]
PAGE_ENTRIES: Final = 500
_MOST_ENTRIES: Final = 200_000
"""Entries of one folder that are looked at; of a larger one the rest is not listed."""
_MOST_PATH_BYTES: Final = 4096
# The main files of the formats that are read.
_SUFFIXES: Final = frozenset(
    {
        *(".svs", ".tif", ".tiff", ".ndpi", ".scn", ".mrxs", ".bif", ".vms", ".vmu", ".svslide"),
        *(".dcm", ".qptiff", ".btf", ".tf8", ".czi"),
        *(".png", ".jpg", ".jpeg", ".jp2", ".j2k", ".webp", ".bmp"),
    }
)


@dataclass(frozen=True, slots=True, order=True)
class _Entry:
    """An entry of a folder; folders come first, then the order is that of the names."""

    is_file: bool
    name: str


class SlideFolders:
    """The folders of `worker.slides.roots`. Threads may share it."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = tuple(roots)

    def roots(self) -> dict[str, Any]:
        """Return the folders by their number and the last part of their name."""
        return {
            "roots": [
                {"root": number, "name": root.name or str(root)}
                for number, root in enumerate(self._roots)
            ]
        }

    def page(self, root: int, path: str, cursor: str | None) -> dict[str, Any]:
        """Return up to 500 entries of the folder at `path` below a root, folders first.

        Raise `OrderError`: `not_found`, and `request_malformed` for a path that is no path below a
        root, or a cursor that is none of ours.
        """
        if not 0 <= root < len(self._roots):
            raise OrderError("not_found", f"there is no root {root}", field="root")
        top = Path(os.path.realpath(self._roots[root]))
        relative = _relative(path)
        after = _entry_of(cursor)
        folder = Path(os.path.realpath(top / relative))
        if not folder.is_relative_to(top):
            raise _no_folder(path)
        try:
            entries = heapq.nsmallest(PAGE_ENTRIES + 1, _entries(folder, top, after))
        except OSError:
            raise _no_folder(path) from None
        next_cursor = None
        if len(entries) > PAGE_ENTRIES:
            entries.pop()
            next_cursor = _cursor_of(entries[-1])
        return {
            "root": root,
            "path": str(relative).removeprefix("."),
            "entries": [shown for entry in entries if (shown := _shown(folder, entry))],
            "cursor": next_cursor,
        }


def _relative(path: str) -> PurePosixPath:
    """Return the path below a root. Raise `OrderError`."""
    relative = PurePosixPath(path)
    if relative.is_absolute() or ".." in relative.parts or "\0" in path:
        raise OrderError(
            "request_malformed",
            "the path is not one below the root",
            hint="names of folders with / between them, without ..",
            field="path",
        )
    is_hidden = any(part.startswith(".") for part in relative.parts)
    try:
        is_too_long = len(path.encode()) > _MOST_PATH_BYTES
    except UnicodeEncodeError:
        is_too_long = True
    if is_hidden or is_too_long:
        raise _no_folder(path)
    return relative


def _entries(folder: Path, top: Path, after: _Entry | None) -> Iterator[_Entry]:
    """Yield what is listed of the folder, in any order, from `after` on."""
    with os.scandir(folder) as found:
        for item in islice(found, _MOST_ENTRIES):
            entry = _entry(item, top)
            if entry is not None and (after is None or entry > after):
                yield entry


def _entry(item: os.DirEntry[str], top: Path) -> _Entry | None:
    """Return the entry, None where it is hidden, leads out of `top`, or has no name in UTF-8."""
    if item.name.startswith("."):
        return None
    try:
        item.name.encode()
        if item.is_symlink() and not Path(os.path.realpath(item.path)).is_relative_to(top):
            return None
        if item.is_dir():
            return _Entry(is_file=False, name=item.name)
        if item.is_file():
            return _Entry(is_file=True, name=item.name)
    except (OSError, UnicodeEncodeError):
        return None
    return None  # a socket, a device, a link that leads nowhere


def _shown(folder: Path, entry: _Entry) -> dict[str, Any] | None:
    """Return the entry as it is answered, None where it is gone."""
    try:
        status = (folder / entry.name).stat()
    except OSError:
        return None
    if not (S_ISREG(status.st_mode) or S_ISDIR(status.st_mode)):
        return None
    size_bytes = None
    if entry.is_file:
        size_bytes = status.st_size
    modified = datetime.fromtimestamp(status.st_mtime, UTC).isoformat(timespec="milliseconds")
    return {
        "name": entry.name,
        "kind": _kind(entry),
        "bytes": size_bytes,
        "modified_at": modified.replace("+00:00", "Z"),
    }


def _kind(entry: _Entry) -> Kind:
    if not entry.is_file:
        return "folder"
    if PurePosixPath(entry.name).suffix.lower() in _SUFFIXES:
        return "slide"
    return "other"


def _cursor_of(entry: _Entry) -> str:
    text = json.dumps([entry.is_file, entry.name])
    return base64.urlsafe_b64encode(text.encode()).decode()


def _entry_of(cursor: str | None) -> _Entry | None:
    """Return the last entry of the page before. Raise `OrderError`."""
    if cursor is None:
        return None
    try:
        is_file, name = json.loads(base64.urlsafe_b64decode(cursor))
    except (binascii.Error, ValueError, TypeError, RecursionError):
        is_file = name = None
    if not (isinstance(is_file, bool) and isinstance(name, str)):
        raise OrderError(
            "request_malformed",
            "the cursor is not one of a page of this list",
            hint="leave it out to begin anew",
            field="cursor",
        )
    return _Entry(is_file, name)


def _no_folder(path: str) -> OrderError:
    return OrderError(
        "not_found", f"there is no folder {path[:200]!r} below the root", field="path"
    )
