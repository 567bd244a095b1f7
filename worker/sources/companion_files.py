"""The files beside a slide's main file that belong to it, on allowed paths and in archives.

None of them may lead a reader out of their folder.
"""

import re
from itertools import islice
from pathlib import Path
from typing import Final

from worker.slides.errors import NotASlideError
from worker.slides.slide_files import FILES_BESIDE, FILES_IN_FOLDER

_SERIES: Final = ".dcm"  # OpenSlide looks for the rest of the series beside it
_MAX_FILES: Final = 5000
_TEXT_FILES: Final = (".ini", *FILES_BESIDE)
_MAX_TEXT_BYTES: Final = 2**20  # OpenSlide reads no longer ones
_PARENT_FOLDER: Final = re.compile(rb"\.\.[/\\]")


def list_companions(main: Path) -> list[Path]:
    """Return the files that a reader of `main` may open besides it, links among them.

    Raise `NotASlideError` where they are more than 5000.
    """
    suffix = main.suffix.lower()
    if suffix == FILES_IN_FOLDER:
        paths = main.with_suffix("").rglob("*")
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
