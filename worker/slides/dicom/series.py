"""Levels of a DICOM slide: which files of a folder belong to it, and where their frames lie.

Knows series and total pixel matrices, but no compressions and no colors.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Final

from broker.errors import OrderError
from worker.slides import signatures
from worker.slides.dicom.file import DicomFile, dicom_file, parsing
from worker.slides.dicom.header import KEYWORDS, Header, PixelMatrix, read_header
from worker.slides.dicom.level_sizes import LevelSize, size_of_slide
from worker.slides.errors import UnreadableDicomError

_MAX_FOLDER_FILES: Final = 4096
_MAX_SERIES_FILES: Final = 64  # labels and thumbnails among them; all stay open
_SERIES_INSTANCE_UID: Final = 0x0020000E


@dataclass(frozen=True, slots=True)
class LevelFile:
    """The open file of one level.

    `size_px` are width and height of the part of the matrix that shows the slide.
    """

    file: DicomFile
    header: Header
    matrix: PixelMatrix
    size_px: tuple[int, int]


def open_levels(file: DicomFile, header: Header, path: Path, files: ExitStack) -> list[LevelFile]:
    """Return the levels in the open file at `path` and in others of its series, largest first.

    Levels whose size contradicts their spacing are left out. `files` closes the others. Raises
    `UnreadableSlideError`.
    """
    levels = []
    for level_file, level_header in _series_files(file, header, path, files):
        matrix = level_header.matrix
        if matrix is not None and level_header.image_type[2:3] == ("VOLUME",):
            _check_level(level_header, matrix)
            size_px = (matrix.width, matrix.height)
            levels.append(LevelFile(level_file, level_header, matrix, size_px))
    if not levels:
        raise UnreadableDicomError(
            "it is the label, overview or thumbnail of a slide, whose own files are missing",
            hint="give all files of the series: by urls, zip_url, or the path of one in a folder "
            "of all",
        )
    levels.sort(key=lambda level: level.matrix.width, reverse=True)
    for finer, coarser in pairwise(levels):
        if finer.matrix.width == coarser.matrix.width:
            raise _several_layers("two files of its series show the whole slide at the same size")
    return _within_slide(levels)


def level_size(header: Header, matrix: PixelMatrix) -> LevelSize:
    """Return the sizes of a level that tell which part of it shows the slide."""
    pixel_format = header.pixel_format
    return LevelSize(
        matrix_px=(matrix.width, matrix.height),
        tile_px=(pixel_format.columns, pixel_format.rows),
        spacing_mm=header.spacing_mm,
    )


def _within_slide(levels: Sequence[LevelFile]) -> list[LevelFile]:
    """Return the levels, the finest first, without padding and without contradictory ones."""
    finest = level_size(levels[0].header, levels[0].matrix)
    found = []
    for level in levels:
        size_px = size_of_slide(finest, level_size(level.header, level.matrix))
        if size_px is not None:
            found.append(replace(level, size_px=size_px))
    return found


def _series_files(
    file: DicomFile, header: Header, path: Path, files: ExitStack
) -> list[tuple[DicomFile, Header]]:
    """Return the open file and the others of its series, each instance once."""
    if not header.series:
        return [(file, header)]
    neighbours = series_files_beside(path, header.series)
    if len(neighbours) >= _MAX_SERIES_FILES:
        raise UnreadableDicomError(
            f"its series has {len(neighbours) + 1} files; a slide has at most {_MAX_SERIES_FILES}"
        )
    by_instance = {header.instance: (file, header)}
    for neighbour in neighbours:
        other_file = files.enter_context(dicom_file(neighbour, KEYWORDS))
        other_header = read_header(other_file)
        by_instance.setdefault(other_header.instance, (other_file, other_header))
    return list(by_instance.values())


class FrameGrid:
    """Which frame of a level lies at which column and row of the grid of frames."""

    def __init__(self, header: Header, matrix: PixelMatrix) -> None:
        """Raise `UnreadableSlideError` if the frames do not form one layer of a grid."""
        frame_width = header.pixel_format.columns
        frame_height = header.pixel_format.rows
        self._columns = -(-matrix.width // frame_width)
        self._numbers: dict[tuple[int, int], int] | None = None
        if matrix.corners is None:
            frames = self._columns * -(-matrix.height // frame_height)
            if header.frames != frames:
                raise UnreadableDicomError(
                    f"{matrix.width} x {matrix.height} px are {frames} frames; "
                    f"it says {header.frames}"
                )
            return
        if header.frames != len(matrix.corners):
            raise UnreadableDicomError(
                f"it says {header.frames} frames and gives the places of {len(matrix.corners)}"
            )
        self._numbers = _frames_by_place(matrix.corners, frame_width, frame_height)

    def frame_at(self, column: int, row: int) -> int | None:
        """Return the number of the frame at this place, None where there is none."""
        if self._numbers is None:
            return row * self._columns + column
        return self._numbers.get((column, row))


def _frames_by_place(
    corners: Sequence[tuple[int, int]], frame_width: int, frame_height: int
) -> dict[tuple[int, int], int]:
    """Return the numbers of frames by column and row of the grid, from their 1-based corners."""
    numbers: dict[tuple[int, int], int] = {}
    for number, (left, top) in enumerate(corners):
        column, offset_x = divmod(left - 1, frame_width)
        row, offset_y = divmod(top - 1, frame_height)
        if offset_x or offset_y:
            raise UnreadableDicomError(
                "its frames do not lie on a grid", hint="export it as TILED_FULL"
            )
        if (column, row) in numbers:
            raise _several_layers("more than one frame lies at the same place")
        numbers[column, row] = number
    return numbers


def _check_level(header: Header, matrix: PixelMatrix) -> None:
    if matrix.width < 1 or matrix.height < 1:
        raise UnreadableDicomError(
            f"its total pixel matrix has {matrix.width} x {matrix.height} px"
        )
    if header.is_part:
        raise UnreadableDicomError(
            "it is one part of several that a level was cut into",
            hint="put the parts of the concatenation together into one file for each level",
        )
    if matrix.layers != 1:
        raise _several_layers(f"it has {matrix.layers} focal planes or optical paths")


def _several_layers(reason: str) -> UnreadableDicomError:
    return UnreadableDicomError(reason, hint="export one focal plane and one optical path")


def series_files_beside(
    path: Path, series: str, max_folder_files: float = _MAX_FOLDER_FILES
) -> list[Path]:
    """Return the other DICOM files of a series in the folder of `path`, by name.

    Links are not followed. Raises `UnreadableSlideError` if the folder has too many files.
    """
    names = []
    with os.scandir(path.parent) as entries:
        for entry in entries:
            if not entry.is_file(follow_symlinks=False):
                continue
            names.append(entry.name)
            if len(names) > max_folder_files:
                raise UnreadableDicomError(
                    f"it lies among more than {max_folder_files} files, "
                    "any of which may belong to it",
                    hint="give each series a folder of its own",
                )
    found = []
    for name in sorted(names):
        neighbour = path.with_name(name)
        if name != path.name and series_of(neighbour) == series:
            found.append(neighbour)
    return found


def series_of(path: Path) -> str:
    """Return a file's series, an empty text if it is no DICOM file or too damaged to tell."""
    try:
        with path.open("rb") as file:
            header = file.read(signatures.DICOM_HEADER_BYTES)
        if not signatures.is_dicom(header):
            return ""
        with dicom_file(path, ("SeriesInstanceUID",), _SERIES_INSTANCE_UID) as file, parsing():
            return str(file.data_set.get("SeriesInstanceUID", ""))
    except (OSError, OrderError):
        return ""
