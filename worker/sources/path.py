"""Slides on a mounted disk, used where they are if that is below an allowed folder.

Nothing is copied into the slide cache: a slide of several files needs the files beside it.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from broker.errors import OrderError
from worker.slide_cache.local_slide import STAT, LocalSlide
from worker.sources import companion_files
from worker.sources.errors import InputNotFoundError
from worker.sources.unicode_names import entries_with_letters, normalized

_FIELD: Final = "source.path"
_SHOWN_CHARS: Final = 200


def find_slide(path: str, roots: Sequence[Path]) -> LocalSlide:
    """Return the slide at `path`, links resolved, which must be below one of `roots`.

    Where no file has exactly this name, the one whose letters are the same is meant: macOS stores
    names with accents as letter and accent (NFD), and most others as one character (NFC).

    Its digest is `stat:` and the SHA-256 of path, size and mtime (ns) of all its files: to hash
    gigabytes would cost more than to read the tiles. Raises `OrderError`: `path_not_allowed`, also
    for what does not exist outside the roots; `input_not_found`; `not_a_slide` for what is no file;
    `slide_unreadable` for one that may not be read.
    """
    main = _resolve(path, roots)
    try:
        if not main.exists():
            main = _same_letters(main, path, roots)
        status = main.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise InputNotFoundError(f"there is no file {path}", field=_FIELD) from None
    except PermissionError:
        raise _not_permitted(path) from None
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise InputNotFoundError(
            f"there is no file {path[:_SHOWN_CHARS]}…: no name is so long", field=_FIELD
        ) from None
    if not stat.S_ISREG(status.st_mode):
        raise OrderError(
            "not_a_slide",
            f"{path} is not a file",
            hint="name the slide's main file; its neighbours are found beside it",
            field=_FIELD,
        )
    if not os.access(main, os.R_OK):
        raise _not_permitted(path)
    companions = _companions(main, roots)
    identity = "\0".join(_identity(file) for file in [main, *companions])
    digest = hashlib.sha256(os.fsencode(identity)).hexdigest()
    size_bytes = status.st_size + sum(file.stat().st_size for file in companions)
    return LocalSlide(main, f"{STAT}{digest}", size_bytes)


def _same_letters(missing: Path, path: str, roots: Sequence[Path]) -> Path:
    """Return the one path that exists and differs from `missing` in Unicode normalization only.

    Each folder and the file itself may differ. Links are resolved, and none may lead out of the
    roots. `missing` itself is returned where there is no such path. Raises `InputNotFoundError`
    where there are several.
    """
    names: list[str] = []
    folder = missing
    while not folder.exists() and folder != folder.parent:
        names.insert(0, folder.name)
        folder = folder.parent
    for name in names:
        if not _is_below(folder, _allowed_folders(roots)):
            return missing
        alike = entries_with_letters(folder, name)
        if not alike:
            return missing
        if len(alike) > 1:
            raise InputNotFoundError(
                f"there is no file {path}, and {len(alike)} names in {folder} have the same "
                f"letters as {name!r}: {', '.join(ascii(entry) for entry in alike)}",
                hint="rename one of them, or order by the exact name",
                field=_FIELD,
            )
        folder = _resolve(str(folder / alike[0]), roots)
    return folder


def _companions(main: Path, roots: Sequence[Path]) -> list[Path]:
    """Return the other files of the slide.

    Raises `OrderError` where one of them leads out of the roots.
    """
    files = companion_files.list_companions(main)
    for file in files:
        _resolve(str(file), roots)
    for file in (main, *files):
        companion_files.check_stays_in_folder(file)
    if companion_files.all_belong_to(main):
        return files
    return []


def _identity(path: Path) -> str:
    status = path.stat()
    return f"{path}\0{status.st_size}\0{status.st_mtime_ns}"


def _resolve(path: str, roots: Sequence[Path]) -> Path:
    """Return the path without links. Raises `OrderError("path_not_allowed")`.

    The disk is accessed only where the path, as it is written, is below a root.
    """
    allowed = _allowed_folders(roots)
    written = _as_roots_write_it(Path(os.path.normpath(path)), allowed)
    if Path(path).is_absolute() and _is_below(written, allowed):
        try:
            resolved = _as_roots_write_it(Path(path), allowed).resolve()
        except (OSError, RuntimeError):  # a loop of links; Python before 3.13 raises RuntimeError
            resolved = Path("/")
        if _is_below(resolved, allowed):
            return resolved
    raise OrderError(
        "path_not_allowed",
        f"{path} does not lie below an allowed folder",
        hint="the operator lists the folders in worker.slides.roots",
        field=_FIELD,
    )


def _allowed_folders(roots: Sequence[Path]) -> list[Path]:
    return [root.absolute() for root in roots] + [root.resolve() for root in roots]


def _as_roots_write_it(path: Path, folders: Sequence[Path]) -> Path:
    """Return the path with the folder that it is below written as that folder is."""
    if _is_below(path, folders):
        return path
    letters = Path(normalized(str(path)))
    for folder in folders:
        if letters.is_relative_to(normalized(str(folder))):
            return folder.joinpath(*path.parts[len(folder.parts) :])
    return path


def _is_below(path: Path, folders: Sequence[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _not_permitted(path: str) -> OrderError:
    return OrderError(
        "slide_unreadable", f"the worker may not read {path}", hint="check its mode", field=_FIELD
    )
