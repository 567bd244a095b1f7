"""DICOM as a pyramid: slides that OpenSlide refuses, and single pictures that are no slides.

Owns which of both a file is and what is said of it; knows no order. OpenSlide comes first where it reads a slide.
"""

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image

from worker.geometry.frame import Pixels
from worker.slides.dicom.file import DicomFile, dicom_file, parsing
from worker.slides.dicom.frames import Frames
from worker.slides.dicom.header import KEYWORDS, Head, Matrix, head_of
from worker.slides.dicom.lookup_tables import has_tones, tones
from worker.slides.dicom.pixels import Values, coloured, refuse_unfit, values_of
from worker.slides.dicom.series import levels_of, places_of
from worker.slides.tiled_pyramid import Mosaic, TiledLevel


class DicomPyramid:
    """A slide of one or more files, or one picture. Threads may share it."""

    def __init__(self, head: Head, levels: list[TiledLevel], opened: ExitStack) -> None:
        which = "" if head.is_slide or head.frames == 1 else f", frame 1 of {head.frames}"
        self.name = f"pydicom {pydicom.__version__} ({head.syntax.name}{which})"
        self.properties = _properties(head)
        self.stored = Mosaic(levels)
        self._opened = opened
        self.level_dimensions = self.stored.level_dimensions
        self.level_downsamples = self.stored.level_downsamples

    def read_region(
        self, location: tuple[int, int], level: int, size: tuple[int, int]
    ) -> Image.Image:
        """`size` pixels of a level from a level-0 location on, in RGBA; transparent where nothing was scanned.

        Raises `OrderError`: `slide_unreadable`.
        """
        return self.stored.read_region(location, level, size)

    def close(self) -> None:
        """Close the files. Nothing may be read any more."""
        self._opened.close()


def open_dicom(path: Path) -> DicomPyramid:
    """The slide that the file and others of its series beside it make up, or the picture in it.

    Of a picture of several frames, in time or depth, the first is shown, as viewers do; the reader's name says so.
    Raises `OrderError`: `not_a_slide` where it holds no picture; `slide_unreadable`.
    """
    with ExitStack() as opened:
        file = opened.enter_context(dicom_file(path, KEYWORDS))
        head = head_of(file)
        if head.is_slide:
            files = levels_of(file, head, path, opened)
            levels = [_level(*level) for level in files]
            head = files[0][1]
        else:
            levels = [_picture(file, head)]
        return DicomPyramid(head, levels, opened.pop_all())


class _Coloured:
    """The frames of one file in colour. Threads may share them."""

    def __init__(self, file: DicomFile, head: Head) -> None:
        refuse_unfit(head)
        self._head = head
        self._frames = Frames(file, head)
        self._table = self._tones(file) if head.stored.samples == 1 else None

    def frame(self, number: int) -> Pixels:
        """A frame, counted from 0, as (rows, columns, 3)."""
        return coloured(self._head, self._values(number), self._table)

    def _tones(self, file: DicomFile) -> Pixels:
        """Of a slide the tiles have to agree, so only a picture is shown by the values that are in it."""
        stored, present = self._head.stored, None
        with parsing():
            is_said = self._head.is_slide or has_tones(file.data_set, stored)
        if not is_said:
            present = np.zeros(2**stored.bits_stored, np.bool_)
            present[self._values(0)] = True
        with parsing():
            return tones(file.data_set, stored, present)

    def _values(self, number: int) -> Values:
        return values_of(self._head, self._frames.stored(number))


def _level(file: DicomFile, head: Head, matrix: Matrix) -> TiledLevel:
    frames, place = _Coloured(file, head), places_of(head, matrix)

    def load(column: int, row: int) -> Pixels | None:
        number = place(column, row)
        return None if number is None else frames.frame(number)

    return TiledLevel(matrix.width, matrix.height, head.stored.columns, head.stored.rows, load)


def _picture(file: DicomFile, head: Head) -> TiledLevel:
    rows, columns = head.stored.rows, head.stored.columns
    pixels = _Coloured(file, head).frame(0)
    return TiledLevel(columns, rows, columns, rows, lambda _column, _row: pixels)


def _properties(head: Head) -> dict[str, str]:
    said = {
        "openslide.vendor": "dicom",
        "dicom.SOPClassUID": str(head.sop_class),
        "dicom.TransferSyntaxUID": str(head.syntax),
        "dicom.ImageType": "\\".join(head.image_type),
        "dicom.PhotometricInterpretation": head.stored.photometric,
    }
    for axis, spacing_mm in zip("xy", head.spacing_mm or (), strict=False):
        said[f"openslide.mpp-{axis}"] = repr(spacing_mm * 1000)
    return said
