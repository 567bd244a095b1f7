"""Slides that are mounted already: used where they lie, if below an allowed folder.

Owns that rule. Must not know the shelf: nothing is copied, since formats of several files need their neighbours.
"""

import hashlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from broker.errors import OrderError
from worker.slide_cache.local_slide import LocalSlide
from worker.sources import companion_files

_FIELD = "source.path"


def find(path: str, roots: Sequence[Path]) -> LocalSlide:
    """The slide at `path`, links resolved, which must lie below one of `roots`.

    The digest is `stat:` and the SHA-256 of path, size and mtime (ns) of all its files: to hash gigabytes would cost
    more than to read the tiles. Raises `OrderError`: `path_not_allowed`, also for what does not exist out there;
    `input_not_found`; `not_a_slide` for what is no file; `slide_unreadable` for one that may not be read.
    """
    real = _resolved(path, roots)
    try:
        found = real.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise OrderError("input_not_found", f"there is no file {path}", field=_FIELD) from None
    except PermissionError:
        raise _unreadable(path) from None
    if not stat.S_ISREG(found.st_mode):
        hint = "name the slide's main file; its neighbours are found beside it"
        raise OrderError("not_a_slide", f"{path} is not a file", hint=hint, field=_FIELD)
    if not os.access(real, os.R_OK):
        raise _unreadable(path)
    others = _neighbours(real, roots)
    identity = "\0".join(map(_identity, [real, *others]))
    size_bytes = found.st_size + sum(other.stat().st_size for other in others)
    return LocalSlide(real, "stat:" + hashlib.sha256(os.fsencode(identity)).hexdigest(), size_bytes)


def _neighbours(main: Path, roots: Sequence[Path]) -> list[Path]:
    """The other files of the slide, which must lie below a root as well, wherever links among them lead."""
    found = companion_files.of(main)
    for other in found:
        _resolved(str(other), roots)
    for text in (main, *found):
        companion_files.refuse_upwards(text)
    return found if companion_files.is_part_of_the_slide(main) else []


def _identity(path: Path) -> str:
    found = path.stat()
    return f"{path}\0{found.st_size}\0{found.st_mtime_ns}"


def _resolved(path: str, roots: Sequence[Path]) -> Path:
    """The path without links. Nothing is looked at that does not at least read as if it lay below a root."""
    allowed = [*(root.absolute() for root in roots), *(root.resolve() for root in roots)]
    if Path(path).is_absolute() and _below(Path(os.path.normpath(path)), allowed):
        try:
            real = Path(path).resolve()
        except (OSError, RuntimeError):  # a loop of links; Python before 3.13 raises RuntimeError
            real = Path("/")
        if _below(real, allowed):
            return real
    hint = "the operator lists the folders in worker.slides.roots"
    raise OrderError(
        "path_not_allowed", f"{path} does not lie below an allowed folder", hint=hint, field=_FIELD
    )


def _below(path: Path, roots: Sequence[Path]) -> bool:
    return any(path.is_relative_to(root) for root in roots)


def _unreadable(path: str) -> OrderError:
    return OrderError(
        "slide_unreadable", f"the worker may not read {path}", hint="check its mode", field=_FIELD
    )
