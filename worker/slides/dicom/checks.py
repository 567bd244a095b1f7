"""Facts of a DICOM slide that OpenSlide does not compare.

OpenSlide decodes a JPEG as PhotometricInterpretation states, whatever its marks say.
"""

import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom import uid
from pydicom.dataset import Dataset

from broker.errors import OrderError
from worker.slides.dicom.file import DicomFile, dicom_file, parsing
from worker.slides.dicom.frames import start_of_first_frame
from worker.slides.dicom.header import image_type_of, spacing_mm_of
from worker.slides.dicom.level_sizes import LevelSize
from worker.slides.dicom.series import series_files_beside, series_of
from worker.slides.dicom.stream_color import openslide_shows_true_colors
from worker.slides.reader import SlideWarning

_KEYWORDS: Final = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "ImageType", "ConcatenationUID",
    "InConcatenationTotalNumber",
    "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames",
    "TotalPixelMatrixColumns", "TotalPixelMatrixRows", "DimensionOrganizationType",
    "TotalPixelMatrixFocalPlanes", "NumberOfOpticalPaths", "SharedFunctionalGroupsSequence",
    "PixelSpacing",
)  # fmt: skip
_PLACES: Final = "PerFrameFunctionalGroupsSequence"


@dataclass(frozen=True, slots=True)
class Checks:
    """What the files of a slide state.

    `openslide_is_right` is False where OpenSlide would show false colors, or a level at a false
    place.
    """

    openslide_is_right: bool
    warnings: tuple[SlideWarning, ...]


@dataclass(frozen=True, slots=True)
class _Part:
    """One file of a level; PS3.3 C.7.6.16.2.2.4 for concatenations.

    `frames_of_level` are the frames that the whole level has unless it is sparse. `stream` is the
    beginning of the first frame. `says_how_many`: whether the number of parts is stated.
    """

    instance: str
    image_type: tuple[str, ...]
    size: LevelSize
    syntax: str
    photometric: str
    samples: int
    stream: bytes
    frames: int
    frames_of_level: int
    is_sparse: bool
    is_concatenated: bool
    says_how_many: bool


def check_series(path: Path) -> Checks:
    """Check the slide that the file at `path` and others of its series form.

    Files that pydicom cannot parse are passed over: OpenSlide has opened them.
    Raises `UnreadableSlideError` where it is not clear which colors are meant.
    """
    levels = _levels(path)
    is_right = True
    for level in levels:
        if not all(_has_true_colors(part) for part in level):
            is_right = False
    return Checks(is_right, ())


def _levels(path: Path) -> list[list[_Part]]:
    """Return the files of each level, the finest level first, each instance once.

    As OpenSlide does, take files of one size for parts of one level.
    """
    by_size: defaultdict[tuple[int, int], dict[str, _Part]] = defaultdict(dict)
    paths = [path]
    series = series_of(path)
    if series:
        paths.extend(series_files_beside(path, series, math.inf))
    for each in paths:
        part = _part(each)
        if part is not None:
            by_size[part.size.matrix_px].setdefault(part.instance, part)
    sizes = sorted(by_size, reverse=True)
    return [list(by_size[size].values()) for size in sizes]


def _part(path: Path) -> _Part | None:
    """Return what the file states, None if it is no level or cannot be parsed."""
    try:
        with dicom_file(path, _KEYWORDS) as file:
            stream = start_of_first_frame(file)
            with parsing():
                return _parse(file, path, stream)
    except OrderError:
        return None


def _parse(file: DicomFile, path: Path, stream: bytes) -> _Part | None:
    elements = file.data_set
    image_type = image_type_of(elements)
    is_slide = elements.get("SOPClassUID") == uid.VLWholeSlideMicroscopyImageStorage
    if not is_slide or image_type[2:3] != ("VOLUME",):
        return None
    width = int(elements.TotalPixelMatrixColumns)
    height = int(elements.TotalPixelMatrixRows)
    tile_width = int(elements.Columns)
    tile_height = int(elements.Rows)
    layers = int(elements.get("TotalPixelMatrixFocalPlanes") or 1)
    layers *= int(elements.get("NumberOfOpticalPaths") or 1)
    return _Part(
        instance=str(elements.get("SOPInstanceUID", "")),
        image_type=image_type,
        size=LevelSize((width, height), (tile_width, tile_height), spacing_mm_of(elements)),
        syntax=file.syntax,
        photometric=str(elements.PhotometricInterpretation),
        samples=int(elements.SamplesPerPixel),
        stream=stream,
        frames=int(elements.get("NumberOfFrames") or 1),
        frames_of_level=-(-width // tile_width) * -(-height // tile_height) * layers,
        is_sparse=_is_sparse(elements, path),
        is_concatenated="ConcatenationUID" in elements,
        says_how_many="InConcatenationTotalNumber" in elements,
    )


def _is_sparse(elements: Dataset, path: Path) -> bool:
    """Return whether each frame states its own place, so that frames may be left out."""
    organization = elements.get("DimensionOrganizationType")
    if organization:
        return bool(organization != "TILED_FULL")
    with dicom_file(path, (_PLACES,)) as file:
        return _PLACES in file.data_set


def _has_true_colors(part: _Part) -> bool:
    if part.samples != 3 or not part.stream:
        return True
    return openslide_shows_true_colors(part.syntax, part.photometric, part.stream)
