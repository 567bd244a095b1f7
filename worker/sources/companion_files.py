"""The files beside a slide's main file that belong to it, on allowed paths and in archives.

None of them may lead a reader out of their folder.
"""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from worker.slides.errors import NotASlideError
from worker.slides.slide_files import FILES_BESIDE, FILES_IN_FOLDER
from worker.sources.unicode_names import entries_with_letters

_SERIES: Final = ".dcm"  # OpenSlide looks for the rest of the series beside it
_MAX_FILES: Final = 5000
_TEXT_FILES: Final = (".ini", *FILES_BESIDE)
_MAX_TEXT_BYTES: Final = 2**20  # OpenSlide reads no longer ones
_MAX_NAME_CHARS: Final = 255
_PARENT_FOLDER: Final = re.compile(rb"\.\.[/\\]")


def list_companions(main: Path) -> list[Path]:
    """Return the files that a reader of `main` may open besides it, links among them.

    Raise `NotASlideError` where they are more than 5000.
    """
    suffix = main.suffix.lower()
    if suffix == FILES_IN_FOLDER:
        paths = _data_folder(main).rglob("*")
    elif suffix in (*FILES_BESIDE, _SERIES):
        paths = main.parent.iterdir()
    else:
        return []
    files = sorted(
        path for path in islice(paths, _MAX_FILES + 1) if path != main and not path.is_dir()
    )
    if len(files) > _MAX_FILES:
        raise NotASlideError(
            f"{main.name} lies beside more than {_MAX_FILES} files", hint="give it its own folder"
        )
    return files


def expected_names(main: Path) -> dict[str, Path]:
    """Return the names beside `main` that its reader looks for, and that exist only otherwise.

    Each has the path whose name has the same letters in another Unicode form. Raises
    `NotASlideError` where there are two of them.
    """
    suffix = main.suffix.lower()
    names: list[str] = []
    if suffix == FILES_IN_FOLDER:
        names.append(main.stem)
    elif suffix in FILES_BESIDE:
        names.extend(_named_files(main))
    found = {}
    for name in names:
        entry = _one_with_letters(main, name)
        if entry is not None and entry != name:
            found[name] = main.with_name(entry)
    return found


def _data_folder(main: Path) -> Path:
    """Return the folder of an `.mrxs`, in whatever Unicode form its name is."""
    return main.with_name(_one_with_letters(main, main.stem) or main.stem)


def _named_files(main: Path) -> Iterator[str]:
    """Yield the names that an index of Hamamatsu gives: its values that are no numbers."""
    with main.open("rb") as file:
        text = file.read(_MAX_TEXT_BYTES).decode("utf-8", "replace")
    for line in text.splitlines():
        name = line.partition("=")[2].strip()
        if not name.isascii() and "/" not in name and len(name) <= _MAX_NAME_CHARS:
            yield name


def _one_with_letters(main: Path, name: str) -> str | None:
    """Return the entry beside `main` with the letters of `name`, None where there is none."""
    if name.isascii():
        return name
    entries = entries_with_letters(main.parent, name)
    if len(entries) > 1:
        raise NotASlideError(
            f"beside {main.name!r} are {len(entries)} names with the letters of {name!r}: "
            f"{', '.join(ascii(entry) for entry in entries)}",
            hint="leave the one that belongs to the slide",
        )
    if entries:
        return entries[0]
    return None


def all_belong_to(main: Path) -> bool:
    """Return whether all files of `list_companions(main)` are part of the slide.

    Beside a DICOM file may be other series.
    """
    return main.suffix.lower() != _SERIES


def check_stays_in_folder(path: Path) -> None:
    """Raise `NotASlideError` for a text that names files outside its folder.

    OpenSlide would open them.
    """
    if path.suffix.lower() not in _TEXT_FILES:
        return
    with path.open("rb") as file:
        text = file.read(_MAX_TEXT_BYTES + 1)
    if len(text) > _MAX_TEXT_BYTES or _PARENT_FOLDER.search(text):
        raise NotASlideError(
            f"{path.name!r} is too long, or names files outside of its own folder", hint=""
        )
