"""Which files of this disk a slide is made of, for a program that is given the files."""

from pathlib import Path
from typing import Final

from broker.errors import OrderError
from worker.programs.results_receiver.slide_files import SlideFiles
from worker.slides.dicom.series import series_files_beside, series_of
from worker.slides.partial import manifest
from worker.slides.slide_files import files_of

_MOST_FILES: Final = 5000


def slide_files(main: Path) -> SlideFiles:
    """Return the files of the slide at `main`, by their names in an archive.

    Raise `OrderError` for a slide that is no file: a region that an image server has shown.
    """
    if main.name == manifest.NAME:
        raise OrderError(
            "slide_unreadable",
            "an image server shows regions and gives no file, and this algorithm needs the file",
            hint="order the slide by its URL or path",
        )
    resolved = main.resolve()
    series = series_of(resolved)
    if series:
        files = [resolved, *series_files_beside(resolved, series)]
        return SlideFiles(resolved, {file.name: file for file in files})
    found = {resolved.name: resolved}
    for place in files_of(resolved)[1:]:
        for path in sorted(place.rglob("*"))[:_MOST_FILES]:
            if path.is_file():
                found[str(path.relative_to(resolved.parent))] = path
    return SlideFiles(resolved, found)
