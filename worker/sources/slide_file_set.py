"""Puts the files of one slide into the cache: a DICOM series, or a main file with its others."""

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from worker.progress import Progress
from worker.slide_cache.cache import SlideCache
from worker.slide_cache.file_set import FileSet
from worker.slide_cache.local_slide import LocalSlide
from worker.sources import companion_files
from worker.sources.dicom_series import instances
from worker.sources.dicom_series.instances import DownloadedFile


def put_into_cache(
    files: Sequence[DownloadedFile],
    main: PurePosixPath | None,
    file_set: FileSet,
    cache: SlideCache,
    pins: ExitStack,
    progress: Progress,
) -> LocalSlide:
    """Put the slide into the cache, pinned until `pins` closes.

    `main` is the path of the main file, which is the first of `files`; None for a DICOM series.
    Raise `OrderError` for files that are no slide, or that name others outside of the set.
    """
    if main is None:
        return instances.put_into_cache(files, file_set, cache, pins, progress)
    for file in files:
        companion_files.check_stays_in_folder(file.path)
    for name, path in companion_files.expected_names(files[0].path).items():
        (file_set.folder / name).symlink_to(path.name)
    digest = _digest(files, file_set.folder)
    return pins.enter_context(cache.put_file_set(file_set, main.name, digest))


def _digest(files: Sequence[DownloadedFile], folder: Path) -> str:
    """Return the SHA-256, in hex, over the names and contents of the files."""
    lines = sorted(f"{file.digest} {file.path.relative_to(folder)}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
