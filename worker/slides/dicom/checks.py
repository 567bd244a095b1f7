"""Facts of a DICOM slide that OpenSlide does not compare: its colors, its parts and its levels.

OpenSlide decodes a JPEG as PhotometricInterpretation states, shows tiles that are missing as empty
glass, and takes the downsample of a level from its size.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom import uid
from pydicom.dataset import Dataset

from broker.errors import OrderError
from worker.slides.dicom.file import DicomFile, dicom_file, parsing
from worker.slides.dicom.frame_color import openslide_shows_true_colors
from worker.slides.dicom.frames import starts_of_frames
from worker.slides.dicom.header import image_type_of, spacing_mm_of
from worker.slides.dicom.level_sizes import LevelSize, size_of_slide
from worker.slides.dicom.series import series_files_beside, series_of
from worker.slides.errors import UnreadableDicomError
from worker.slides.reader import SlideWarning

_KEYWORDS: Final = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "ImageType", "ConcatenationUID",
    "InConcatenationTotalNumber",
    "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsStored",
    "NumberOfFrames", "TotalPixelMatrixColumns", "TotalPixelMatrixRows",
    "DimensionOrganizationType", "TotalPixelMatrixFocalPlanes", "NumberOfOpticalPaths",
    "SharedFunctionalGroupsSequence", "PixelSpacing",
)  # fmt: skip
_PLACES: Final = "PerFrameFunctionalGroupsSequence"
_GIVE_ALL_PARTS: Final = "give all files of the series, or export the level as one file"


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

    `frames_of_level` are the frames that the whole level has unless it is sparse. `streams` are the
    beginnings of some compressed frames. `says_how_many`: whether the number of parts is stated.
    """

    instance: str
    image_type: tuple[str, ...]
    size: LevelSize
    syntax: str
    photometric: str
    samples: int
    bits_stored: int
    streams: tuple[bytes, ...]
    frames: int
    frames_of_level: int
    is_sparse: bool
    is_concatenated: bool
    says_how_many: bool


def check_series(path: Path) -> Checks:
    """Check the slide that the file at `path` and others of its series form.

    Files that pydicom cannot parse are passed over: OpenSlide has opened them.
    Raises `UnreadableSlideError` where a part of a level is missing, or where it is not clear which
    colors are meant.
    """
    levels = _levels(path)
    warnings = []
    for level in levels:
        _refuse_missing_parts(level)
        if _may_lack_parts(level):
            warnings.append(_parts_may_be_missing(level))
    if not levels:
        return Checks(openslide_is_right=True, warnings=())
    finest = levels[0][0]
    warnings.extend(warnings_of_finest(finest.image_type, finest.size))
    is_right = True
    for level in levels:
        has_true_colors = all(_has_true_colors(part) for part in level)
        size = level[0].size
        if not has_true_colors or size_of_slide(finest.size, size) != size.matrix_px:
            is_right = False
    return Checks(is_right, tuple(warnings))


def warnings_of_finest(image_type: Sequence[str], size: LevelSize) -> list[SlideWarning]:
    """Return a warning if the finest level of a slide is a reduced copy; PS3.3 C.8.12.4.1.1."""
    if tuple(image_type[3:4]) != ("RESAMPLED",):
        return []
    width, height = size.matrix_px
    resolution = ""
    if size.spacing_mm is not None:
        resolution = f" of {size.spacing_mm[0] * 1000:.4g} um"
    return [
        SlideWarning(
            "reduced_level_alone",
            f"the finest level of the slide, {width} x {height} px{resolution}, is a reduced copy "
            "(RESAMPLED), and the level that it was made of is not among its files",
        )
    ]


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
            streams = starts_of_frames(file)
            with parsing():
                return _parse(file, path, streams)
    except OrderError:
        return None


def _parse(file: DicomFile, path: Path, streams: tuple[bytes, ...]) -> _Part | None:
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
        bits_stored=int(elements.BitsStored),
        streams=streams,
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
    if part.samples != 3:
        return True
    return all(
        openslide_shows_true_colors(part.syntax, part.photometric, part.bits_stored, stream)
        for stream in part.streams
    )


def _refuse_missing_parts(parts: Sequence[_Part]) -> None:
    """Raise `UnreadableSlideError` if frames of the level are in none of its files.

    OpenSlide itself refuses parts whose own numbers have a gap.
    """
    first = parts[0]
    frames = sum(part.frames for part in parts)
    width, height = first.size.matrix_px
    if not first.is_sparse and frames < first.frames_of_level:
        raise UnreadableDicomError(
            f"{width} x {height} px are {first.frames_of_level} frames; "
            f"its files have {frames} of them",
            hint=_GIVE_ALL_PARTS,
        )


def _may_lack_parts(parts: Sequence[_Part]) -> bool:
    """Return whether nothing tells a missing last part from frames left out on purpose."""
    first = parts[0]
    if not first.is_concatenated or not first.is_sparse:
        return False
    if any(part.says_how_many for part in parts):
        return False
    return sum(part.frames for part in parts) < first.frames_of_level


def _parts_may_be_missing(parts: Sequence[_Part]) -> SlideWarning:
    width, height = parts[0].size.matrix_px
    return SlideWarning(
        "parts_may_be_missing",
        f"the level of {width} x {height} px is cut into {len(parts)} files or more, which do not "
        "say how many they are, and has fewer frames than its size needs",
    )
