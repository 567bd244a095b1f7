"""The files that a slide on this machine consists of."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.uploads.litter import is_litter

_FILES_IN_FOLDER: Final = ".mrxs"
_FILES_BESIDE: Final = (".vms", ".vmu")
_DICOM: Final = ".dcm"


class SlideUnreadableError(Exception):
    """A file of the slide cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file of a slide. `name`: how it is called beside the others, with one folder at most."""

    path: Path
    name: str
    size_bytes: int
    modified_ns: int


def files_of(slide: Path) -> Sequence[LocalFile]:
    """Return the slide's main file first, then the others. Raise `SlideUnreadableError`."""
    try:
        return _files_of(slide)
    except OSError as error:
        raise SlideUnreadableError(f"{slide} cannot be read ({error.strerror})") from None


def _files_of(slide: Path) -> Sequence[LocalFile]:
    suffix = slide.suffix.lower()
    others: list[Path] = []
    if suffix == _FILES_IN_FOLDER and slide.with_suffix("").is_dir():
        others = list(slide.with_suffix("").iterdir())
    elif suffix in _FILES_BESIDE:
        others = list(slide.parent.iterdir())
    elif suffix == _DICOM:
        others = [path for path in slide.parent.iterdir() if path.suffix.lower() == _DICOM]
    others = sorted(path for path in others if path != slide and _is_sent(path))
    return [_local_file(path, slide.parent) for path in (slide, *others)]


def _is_sent(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and not is_litter(path.name)


def _local_file(path: Path, folder: Path) -> LocalFile:
    status = path.stat()
    name = path.relative_to(folder).as_posix()
    return LocalFile(path, name, status.st_size, status.st_mtime_ns)
