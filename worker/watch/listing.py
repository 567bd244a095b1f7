"""The slides in a folder and the folders below it, and what tells each from an earlier one.

Only names, sizes and times are read. Names that programs give to files that they are still writing
are passed over.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from broker.uploads.litter import is_litter
from worker.slides.slide_files import FILES_BESIDE, FILES_IN_FOLDER

DICOM: Final = ".dcm"
SUFFIXES: Final = frozenset(
    (
        *(".svs", ".tif", ".tiff", ".ndpi", ".scn", ".bif", ".svslide", ".czi"),
        *(DICOM, FILES_IN_FOLDER, *FILES_BESIDE),
    )
)
"""Names of slides end in one of these, in capitals or not. Pictures such as `.png` are none."""
MIRAX_INDEX: Final = "Slidedat.ini"
_UNFINISHED: Final = (".", "~")
"""How names begin that programs give to what they are writing: rsync's, and those of editors."""
_MOST_ENTRIES: Final = 200_000
_DEEPEST: Final = 16


@dataclass(frozen=True, slots=True)
class FoundSlide:
    """A slide in a folder. `identity` changes with the size or the time of any of its files."""

    main: str
    """The path of its main file."""
    identity: str


@dataclass(frozen=True, slots=True)
class Listing:
    """The slides of a folder by the path below it; `fault` says why some may be missing."""

    slides: Mapping[str, FoundSlide]
    fault: str = ""


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    path: str
    size_bytes: int
    mtime_ns: int


def list_slides(folder: Path, most_entries: int = _MOST_ENTRIES) -> Listing:
    """Return the slides below a folder.

    Links to folders are not followed. All DICOM files of a folder are one slide, under the path of
    the folder. Raise `OSError` where the folder itself cannot be listed.
    """
    slides: dict[str, FoundSlide] = {}
    fault = ""
    left = most_entries
    open_folders = [(os.fspath(folder), 0)]
    while open_folders:
        current, depth = open_folders.pop()
        try:
            entries = _entries(current, left + 1)
        except OSError as error:
            if depth == 0:
                raise
            fault = f"{current} cannot be listed ({error.strerror})"
            continue
        is_full = len(entries) > left
        left -= len(entries)
        files, folders = _sorted_out(entries)
        for slide, relative in _slides_of(current, files, folders):
            slides[os.path.relpath(relative, folder)] = slide
        if is_full:
            fault = f"it has more than {most_entries:,} entries; the rest is not looked at"
            break
        if depth < _DEEPEST:
            taken = {name.rpartition(".")[0] for name in files if _suffix(name) == FILES_IN_FOLDER}
            open_folders += [(folders[name], depth + 1) for name in folders if name not in taken]
        elif folders:
            fault = f"{current} lies too deep; the folders in it are not looked at"
    return Listing(slides, fault)


def _entries(folder: str, most: int) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(islice(entries, most))


def _sorted_out(entries: Sequence[os.DirEntry[str]]) -> tuple[dict[str, _File], dict[str, str]]:
    """Return the files that may be of slides, and the paths of the folders, by name."""
    files = {}
    folders = {}
    for entry in entries:
        if entry.name.startswith(_UNFINISHED) or not _is_text(entry.name):
            continue
        try:
            if entry.is_dir(follow_symlinks=False):
                folders[entry.name] = entry.path
            elif _suffix(entry.name) in SUFFIXES and entry.is_file():
                files[entry.name] = _file(entry)
        except OSError:
            continue  # it was removed meanwhile
    return files, folders


def _slides_of(
    folder: str, files: Mapping[str, _File], folders: Mapping[str, str]
) -> Iterator[tuple[FoundSlide, str]]:
    """Yield each slide directly in a folder, with the path that it goes by."""
    series = [file for name, file in files.items() if _suffix(name) == DICOM]
    if series:
        # Of a series the largest file has the finest level, which any reader finds the rest from.
        largest = max(series, key=lambda file: (file.size_bytes, file.name))
        yield FoundSlide(largest.path, _identity(series)), folder
    has_index = any(_suffix(name) in FILES_BESIDE for name in files)
    for name, file in files.items():
        suffix = _suffix(name)
        if suffix == DICOM:
            continue
        if suffix == FILES_IN_FOLDER:
            data = _mirax_data(folders.get(name.rpartition(".")[0]))
            if data:
                yield FoundSlide(file.path, _identity([file, *data])), file.path
        elif suffix in FILES_BESIDE:
            parts = _files_in(folder)
            yield FoundSlide(file.path, _identity([file, *parts])), file.path
        elif not has_index:
            yield FoundSlide(file.path, _identity([file])), file.path


def _mirax_data(folder: str | None) -> list[_File]:
    """Return the files of an `.mrxs`, none while its index is missing."""
    if folder is None:
        return []
    try:
        files = _files_in(folder)
    except OSError:
        return []
    if any(file.name == MIRAX_INDEX for file in files):
        return files
    return []


def _files_in(folder: str) -> list[_File]:
    """Return the files directly in a folder, but those of file managers. Raise `OSError`."""
    files = []
    for entry in _entries(folder, _MOST_ENTRIES):
        try:
            if entry.is_file() and not is_litter(entry.name):
                files.append(_file(entry))
        except OSError:
            continue
    return files


def _file(entry: os.DirEntry[str]) -> _File:
    status = entry.stat()
    return _File(entry.name, entry.path, status.st_size, status.st_mtime_ns)


def _identity(files: Sequence[_File]) -> str:
    """Return what changes with any of the files: of one file, its size and time."""
    if len(files) == 1:
        return f"{files[0].size_bytes}:{files[0].mtime_ns}"
    lines = sorted(f"{file.name}\0{file.size_bytes}\0{file.mtime_ns}" for file in files)
    digest = hashlib.sha256("\0".join(lines).encode(errors="surrogateescape")).hexdigest()
    return f"{len(files)} files:{digest[:32]}"


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - of a name, many thousand times


def _is_text(name: str) -> bool:
    """Return whether a name can stand in an order, which is UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
