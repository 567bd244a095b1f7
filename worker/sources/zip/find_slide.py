"""Which of several files, in an archive or sent one by one, are the slide."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, Protocol

from broker.errors import OrderError
from worker.slides import signatures
from worker.slides.errors import NotASlideError
from worker.slides.slide_files import FILES_BESIDE, FILES_IN_FOLDER
from worker.sources.unicode_names import normalized

_MIRAX_INDEX: Final = "Slidedat.ini"
"""In the folder of a MIRAX slide.

Without it OpenSlide would show the preview in place of the slide.
"""
_SINGLE_FILE_SLIDES: Final = (".tif", ".czi", ".svslide")
_PICTURES: Final = (".png", ".jpg", ".jp2", ".j2k", ".webp", ".bmp")


class NamedFile(Protocol):
    """A file among others."""

    @property
    def name(self) -> PurePosixPath:
        """Its name, relative, without `.` and `..`."""

    @property
    def head(self) -> bytes:
        """Its first 1024 bytes."""


@dataclass(frozen=True, slots=True)
class SlideFiles:
    """The names of the files that are the slide.

    `main`: the one to open, which is also the first; None for a DICOM series.
    """

    main: PurePosixPath | None
    names: tuple[PurePosixPath, ...]


@dataclass(frozen=True, slots=True)
class Holder:
    """What the files came in, as errors name it: `the zip`, and how one `zip`s files."""

    name: str
    verb: str


def find_slide(files: Sequence[NamedFile], holder: Holder) -> SlideFiles:
    """Return the one slide among the files. Raise `NotASlideError` for none or several."""
    series = tuple(file for file in files if signatures.is_dicom(file.head))
    others = [file for file in files if not signatures.is_dicom(file.head)]
    mains = [file for file in others if _is_slide(file)]
    if not series and not mains:
        mains = [file for file in files if _suffix_by_content(file) in _PICTURES]
    if len(mains) + bool(series) != 1:
        raise _none_or_several(files, series, mains, holder)
    if series:
        return SlideFiles(None, tuple(file.name for file in series))
    main = mains[0].name
    companions = _companions(main, files, holder)
    return SlideFiles(main, (main, *(file.name for file in companions)))


def _companions(main: PurePosixPath, files: Sequence[NamedFile], holder: Holder) -> list[NamedFile]:
    """Return the other files that belong to the slide whose main file is `main`."""
    folder = main.parent
    if main.suffix.lower() in FILES_BESIDE:
        return [file for file in files if file.name.parent == folder and file.name != main]
    if main.suffix != FILES_IN_FOLDER:
        return []
    data_folder = normalized(f"{main.with_suffix('')}/")
    companions = [file for file in files if normalized(str(file.name)).startswith(data_folder)]
    index = f"{data_folder}{_MIRAX_INDEX}"
    if not any(normalized(str(file.name)) == index for file in companions):
        raise NotASlideError(
            f"{holder.name} holds {main.name!r}, but no {index!r}",
            hint=f"{holder.verb} the .mrxs file together with the folder beside it",
        )
    return companions


def _is_slide(file: NamedFile) -> bool:
    suffix = file.name.suffix
    if suffix == FILES_IN_FOLDER or suffix.lower() in FILES_BESIDE:
        return True
    return _suffix_by_content(file) in _SINGLE_FILE_SLIDES


def _suffix_by_content(file: NamedFile) -> str:
    """Return the suffix that the first bytes call for; empty for what can be no slide."""
    try:
        return signatures.suffix(file.head, file.name.name)
    except OrderError:
        return ""


def _none_or_several(
    files: Sequence[NamedFile],
    series: Sequence[NamedFile],
    mains: Sequence[NamedFile],
    holder: Holder,
) -> NotASlideError:
    hint = (
        f"{holder.verb} one slide: the images of one DICOM series, an .mrxs with its folder, "
        "or a single file"
    )
    slides = []
    if series:
        slides.append(f"{len(series)} DICOM files")
    slides += [_shown_name(main) for main in mains[:10]]
    if slides:
        return NotASlideError(
            f"{holder.name} holds more than one slide: {', '.join(slides)}", hint=hint
        )
    names = ", ".join(_shown_name(file) for file in files[:10]) or "nothing"
    return NotASlideError(f"{holder.name} holds no slide, but {names}", hint=hint)


def _shown_name(file: NamedFile) -> str:
    return repr(str(file.name)[:100])
