"""DICOM files that OpenSlide does not read: whole slides in series of files, and single images."""

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image

from worker.geometry.frame import Pixels
from worker.slides.dicom.checks import warnings_of_finest
from worker.slides.dicom.file import DicomFile, dicom_file, parsing
from worker.slides.dicom.frames import Frames
from worker.slides.dicom.header import KEYWORDS, Header, read_header
from worker.slides.dicom.lookup_tables import has_lookup_table, lookup_table
from worker.slides.dicom.pixels import decode_frame, refuse_unsupported, to_rgb
from worker.slides.dicom.series import FrameGrid, LevelFile, level_size, open_levels
from worker.slides.reader import SlideWarning
from worker.slides.tiled_pyramid import TiledLevel, TiledPyramid


class DicomReader:
    """A `SlideReader` of a slide in one or more files, or of one image. Threads may share it."""

    def __init__(self, header: Header, levels: list[TiledLevel], files: ExitStack) -> None:
        shown = ""
        if header.frames > 1 and not header.is_slide:
            shown = f", frame 1 of {header.frames}"
        self.name = f"pydicom {pydicom.__version__} ({header.syntax.name}{shown})"
        self.properties = _properties(header)
        self.warnings: tuple[SlideWarning, ...] = ()
        if header.matrix is not None:
            size = level_size(header, header.matrix)
            self.warnings = tuple(warnings_of_finest(header.image_type, size))
        self.tile_reader = TiledPyramid(levels)
        self.level_dimensions = self.tile_reader.level_dimensions
        self.level_downsamples = self.tile_reader.level_downsamples
        self._files = files

    def read_region(
        self, location: tuple[int, int], level: int, size: tuple[int, int]
    ) -> Image.Image:
        """Return `size` pixels of a level from a level-0 location on, in RGBA.

        Pixels that were not scanned are transparent. Raises `UnreadableSlideError`.
        """
        return self.tile_reader.read_region(location, level, size)

    def close(self) -> None:
        """Close the files. Nothing may be read afterwards."""
        self._files.close()


def open_dicom(path: Path) -> DicomReader:
    """Open the slide that the file and others of its series beside it form, or the file's image.

    Of an image of several frames, in time or depth, the first is shown, as viewers do; the
    reader's name says so. Raises `NotASlideError` if the file holds no image,
    `UnreadableSlideError`.
    """
    with ExitStack() as files:
        file = files.enter_context(dicom_file(path, KEYWORDS))
        header = read_header(file)
        if not header.is_slide:
            return DicomReader(header, [_single_image(file, header)], files.pop_all())
        level_files = open_levels(file, header, path, files)
        levels = [_tiled_level(level_file) for level_file in level_files]
        return DicomReader(level_files[0].header, levels, files.pop_all())


class _RgbFrames:
    """The frames of one file in RGB. Threads may share them."""

    def __init__(self, file: DicomFile, header: Header) -> None:
        """Raise `UnreadableSlideError` if the frames are damaged or cannot be decoded."""
        refuse_unsupported(header)
        self._header = header
        self._frames = Frames(file, header)
        self._table: Pixels | None = None
        if header.pixel_format.samples == 1:
            self._table = self._lookup_table(file)

    def load(self, number: int) -> Pixels:
        """Return a frame, counted from 0, as (rows, columns, 3)."""
        data = self._frames.read(number)
        return to_rgb(self._header, data, decode_frame(self._header, data), self._table)

    def _lookup_table(self, file: DicomFile) -> Pixels:
        """Return the color of each stored value.

        A single image whose file does not state it is scaled by the values that occur in it. The
        tiles of a slide are not, because they have to match each other.
        """
        pixel_format = self._header.pixel_format
        with parsing():
            is_stated = self._header.is_slide or has_lookup_table(file.data_set, pixel_format)
        present = None
        if not is_stated:
            present = np.zeros(2**pixel_format.bits_stored, np.bool_)
            present[decode_frame(self._header, self._frames.read(0))] = True
        with parsing():
            return lookup_table(file.data_set, pixel_format, present)


class _LevelTiles:
    """The frames of one level by their place in the grid."""

    def __init__(self, frames: _RgbFrames, frame_grid: FrameGrid) -> None:
        self._frames = frames
        self._grid = frame_grid

    def load(self, column: int, row: int) -> Pixels | None:
        """Return the frame at this place, None where there is none."""
        number = self._grid.frame_at(column, row)
        if number is None:
            return None
        return self._frames.load(number)


def _tiled_level(level_file: LevelFile) -> TiledLevel:
    header = level_file.header
    matrix = level_file.matrix
    frames = _RgbFrames(level_file.file, header)
    tiles = _LevelTiles(frames, FrameGrid(header, matrix))
    tile_width = header.pixel_format.columns
    tile_height = header.pixel_format.rows
    width, height = level_file.size_px
    return TiledLevel(width, height, tile_width, tile_height, tiles.load)


def _single_image(file: DicomFile, header: Header) -> TiledLevel:
    width = header.pixel_format.columns
    height = header.pixel_format.rows
    pixels = _RgbFrames(file, header).load(0)
    return TiledLevel(width, height, width, height, lambda _column, _row: pixels)


def _properties(header: Header) -> dict[str, str]:
    properties = {
        "openslide.vendor": "dicom",
        "dicom.SOPClassUID": str(header.sop_class),
        "dicom.TransferSyntaxUID": str(header.syntax),
        "dicom.ImageType": "\\".join(header.image_type),
        "dicom.PhotometricInterpretation": header.pixel_format.photometric,
    }
    if header.spacing_mm is not None:
        x_mm, y_mm = header.spacing_mm
        properties["openslide.mpp-x"] = repr(x_mm * 1000)
        properties["openslide.mpp-y"] = repr(y_mm * 1000)
    return properties
