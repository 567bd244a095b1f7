"""The levels of a DICOM slide: which files of a folder belong to it, and where the frames of each lie.

Owns series and total pixel matrices; knows no compression and no colour.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import islice, pairwise
from pathlib import Path
from typing import Final

from broker.errors import OrderError
from worker.slides.dicom.file import DicomFile, dicom_file, parsing, unreadable
from worker.slides.dicom.header import KEYWORDS, Head, Matrix, head_of

Level = tuple[DicomFile, Head, Matrix]

Place = Callable[[int, int], int | None]
"""The number of the frame at a column and row of tiles, None where there is none."""

_MOST_FILES: Final = 4096  # of a folder that are looked at
_MOST_LEVELS: Final = 64  # files of a series, labels and thumbnails among them; all stay open
_SERIES_TAG: Final = 0x0020000E
_MAGIC_START: Final = 128


def levels_of(file: DicomFile, head: Head, path: Path, opened: ExitStack) -> list[Level]:
    """The open file and those of its series in its folder, the largest first; `opened` closes them.

    Raises `OrderError`: `slide_unreadable`.
    """
    found = {head.instance: (file, head)}
    beside = _series_beside(path, head.series) if head.series else []
    if len(beside) >= _MOST_LEVELS:
        raise unreadable(
            f"its series has {len(beside) + 1} files; a slide has at most {_MOST_LEVELS}"
        )
    for one in beside:
        other = opened.enter_context(dicom_file(one, KEYWORDS))
        said = head_of(other)
        found.setdefault(said.instance, (other, said))
    levels = [
        (file, head, _checked(head, head.matrix))
        for file, head in found.values()
        if head.matrix is not None and head.image_type[2:3] == ("VOLUME",)
    ]
    if not levels:
        hint = (
            "give all files of the series: by urls, zip_url, or the path of one in a folder of all"
        )
        raise unreadable(
            "it is the label, overview or thumbnail of a slide, whose own files are missing", hint
        )
    levels.sort(key=lambda level: level[2].width, reverse=True)
    if any(finer.width == coarser.width for (_, _, finer), (_, _, coarser) in pairwise(levels)):
        raise _layered("two files of its series show the whole slide at the same size")
    return levels


def places_of(head: Head, matrix: Matrix) -> Place:
    """Where the frames of a level lie. Raises `OrderError` where they do not make up one layer of a grid."""
    wide, high = head.stored.columns, head.stored.rows
    across, down = -(-matrix.width // wide), -(-matrix.height // high)
    if matrix.corners is None:
        if head.frames != across * down:
            raise unreadable(
                f"{matrix.width} x {matrix.height} px are {across * down} frames; it says {head.frames}"
            )
        return lambda column, row: row * across + column
    if head.frames != len(matrix.corners):
        raise unreadable(
            f"it says {head.frames} frames and gives the places of {len(matrix.corners)}"
        )
    numbers = _sparse(matrix.corners, wide, high)
    return lambda column, row: numbers.get((column, row))


def _sparse(corners: Sequence[tuple[int, int]], wide: int, high: int) -> dict[tuple[int, int], int]:
    numbers: dict[tuple[int, int], int] = {}
    for number, (left, top) in enumerate(corners):
        if (left - 1) % wide or (top - 1) % high:
            raise unreadable("its frames do not lie on a grid", hint="export it as TILED_FULL")
        if numbers.setdefault(((left - 1) // wide, (top - 1) // high), number) != number:
            raise _layered("more than one frame lies at the same place")
    return numbers


def _checked(head: Head, matrix: Matrix) -> Matrix:
    if matrix.width < 1 or matrix.height < 1:
        raise unreadable(f"its total pixel matrix has {matrix.width} x {matrix.height} px")
    if head.is_part:
        hint = "put the parts of the concatenation together into one file for each level"
        raise unreadable("it is one part of several that a level was cut into", hint)
    if matrix.layers != 1:
        raise _layered(f"it has {matrix.layers} focal planes or optical paths")
    return matrix


def _layered(detail: str) -> OrderError:
    return unreadable(detail, hint="export one focal plane and one optical path")


def _series_beside(path: Path, series: str) -> list[Path]:
    """The other DICOM files of a series in the folder of `path`; links are not followed out of it."""
    with os.scandir(path.parent) as entries:
        names = sorted(
            islice(
                (entry.name for entry in entries if entry.is_file(follow_symlinks=False)),
                _MOST_FILES + 1,
            )
        )
    if len(names) > _MOST_FILES:
        hint = "give each series a folder of its own"
        raise unreadable(
            f"it lies among more than {_MOST_FILES} files, any of which may belong to it", hint
        )
    return [
        beside
        for name in names
        if name != path.name and _series(beside := path.with_name(name)) == series
    ]


def _series(path: Path) -> str:
    """Of which series a file is, nothing where it is no DICOM file or too broken to tell."""
    try:
        with path.open("rb") as start:
            if start.read(_MAGIC_START + 4)[_MAGIC_START:] != b"DICM":
                return ""
        with dicom_file(path, ("SeriesInstanceUID",), _SERIES_TAG) as file, parsing():
            return str(file.data_set.get("SeriesInstanceUID", ""))
    except (OSError, OrderError):
        return ""
