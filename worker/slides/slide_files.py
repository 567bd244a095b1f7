"""The files and folders that a reader of a slide opens."""

from itertools import islice
from pathlib import Path
from typing import Final

from worker.slides import signatures
from worker.slides.partial import manifest

FILES_IN_FOLDER: Final = ".mrxs"
"""The main file of a slide whose other files are in the folder of the same name."""
FILES_BESIDE: Final = (".vms", ".vmu")
"""The main files of slides whose other files are beside them."""
_MAX_LINKS: Final = 5000


def files_of(main: Path) -> list[Path]:
    """Return the main file, links resolved, and the folders that hold the slide's other files.

    A link in such a folder is followed: what it leads to is returned, too.
    """
    suffix = main.suffix.lower()
    if suffix == FILES_IN_FOLDER:
        return [main, *_with_links(main.with_suffix(""))]
    if suffix in FILES_BESIDE or main.name == manifest.NAME or _is_dicom(main):
        return [main, *_with_links(main.parent)]
    return [main]


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return signatures.is_dicom(file.read(signatures.DICOM_HEADER_BYTES))
    except OSError:
        return False


def _with_links(folder: Path) -> list[Path]:
    """Return the folder and what the links in it lead to."""
    try:
        entries = list(islice(folder.iterdir(), _MAX_LINKS))
    except OSError:
        return []
    return [folder, *(entry.resolve() for entry in entries if entry.is_symlink())]
