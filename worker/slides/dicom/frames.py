"""Frames of a DICOM file: where each is stored, and its bytes.

Handles offset tables, items and fragments (PS3.5 A.4). Knows nothing of what the bytes mean.
"""

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import parse_basic_offsets, parse_fragments

from worker.slides.dicom.file import SEND_AGAIN, DicomFile, LimitedFile, parsing, truncated
from worker.slides.dicom.header import Header
from worker.slides.errors import UnreadableDicomError
from worker.slides.stream_color import HEADER_BYTES

_ITEM_TAG: Final = struct.pack("<HH", 0xFFFE, 0xE000)
_ITEM_HEADER_BYTES: Final = 8  # the tag and the length
_MAX_OVERHEAD_BYTES: Final = 2**20  # of a compressed frame, beyond twice the bytes of its pixels
_OFFSET_BYTES: Final = 4
_Ranges = NDArray[np.int64]
"""(frames, 2): where each frame starts and where it ends, in bytes of the file."""


class Frames:
    """The frames of one file as they are stored. Threads may share them."""

    def __init__(self, file: DicomFile, header: Header) -> None:
        """Find all frames. Raises `UnreadableSlideError` if the file does not hold them whole."""
        self._file = file.file
        self._is_native = not header.syntax.is_encapsulated
        self._max_frame_bytes = 2 * frame_bytes(header) + _MAX_OVERHEAD_BYTES
        with parsing():
            if self._is_native:
                self._ranges = _native_ranges(header)
            else:
                self._ranges = _encapsulated_ranges(self._file, header)
        self._check(header)
        self.read(header.frames - 1)

    def read(self, number: int) -> bytes:
        """Return the bytes of a frame, counted from 0, with its fragments joined.

        Raises `UnreadableSlideError`.
        """
        start = int(self._ranges[number, 0])
        stop = int(self._ranges[number, 1])
        if self._is_native:
            return self._file.read_range(start, stop)
        items = self._file.read_range(start, min(stop, start + self._max_frame_bytes))
        return _join_fragments(items)

    def _check(self, header: Header) -> None:
        if len(self._ranges) != header.frames:
            raise UnreadableDicomError(
                f"it says {header.frames} frames and has {len(self._ranges)}"
            )
        starts, stops = self._ranges.T
        is_before_pixels = (starts < header.pixels.start).any()
        is_empty = (stops <= starts).any()
        is_beyond_end = (stops > self._file.size_bytes).any()
        if is_before_pixels or is_empty or is_beyond_end:
            raise UnreadableDicomError(
                "frames lie outside it; it was cut, or its offset table is wrong", hint=SEND_AGAIN
            )


def starts_of_frames(file: DicomFile) -> tuple[bytes, ...]:
    """Return the first bytes of the first compressed frame, and of one from the middle.

    The second is only known where there is a basic offset table (PS3.5 A.4). Empty for frames that
    are not compressed. Raises `UnreadableSlideError`.
    """
    if file.pixels is None or not file.syntax.is_encapsulated:
        return ()
    table_start = file.pixels.start + _ITEM_HEADER_BYTES
    table_header = file.file.read_range(file.pixels.start, table_start)
    (table_bytes,) = struct.unpack_from("<I", table_header, len(_ITEM_TAG))
    first_item = table_start + table_bytes
    streams = [_start_of_item(file.file, first_item)]
    frames = table_bytes // _OFFSET_BYTES
    if frames > 1:
        entry = table_start + frames // 2 * _OFFSET_BYTES
        (offset,) = struct.unpack("<I", file.file.read_range(entry, entry + _OFFSET_BYTES))
        streams.append(_start_of_item(file.file, first_item + offset))
    return tuple(streams)


def _start_of_item(file: LimitedFile, item: int) -> bytes:
    start = item + _ITEM_HEADER_BYTES
    (length,) = struct.unpack_from("<I", file.read_range(item, start), len(_ITEM_TAG))
    return file.read_range(start, start + min(length, HEADER_BYTES))


def frame_bytes(header: Header) -> int:
    """Return the size of one uncompressed frame.

    In YBR_FULL_422 two neighbouring pixels share their color samples; PS3.3 C.7.6.3.1.2.
    """
    pixel_format = header.pixel_format
    pixels = pixel_format.rows * pixel_format.columns
    size_bytes = pixels * pixel_format.samples * (pixel_format.bits_allocated // 8)
    if pixel_format.photometric == "YBR_FULL_422" and not header.syntax.is_encapsulated:
        return size_bytes * 2 // 3
    return size_bytes


def _native_ranges(header: Header) -> _Ranges:
    size_bytes = frame_bytes(header)
    length_bytes = header.pixels.length_bytes
    if length_bytes is None or length_bytes < size_bytes * header.frames:
        raise UnreadableDicomError(
            f"{header.frames} frames of {size_bytes} bytes do not fit in its pixel data"
        )
    starts = header.pixels.start + size_bytes * np.arange(header.frames, dtype=np.int64)
    return np.stack([starts, starts + size_bytes], axis=1)


def _encapsulated_ranges(file: LimitedFile, header: Header) -> _Ranges:
    file.seek(header.pixels.start)
    basic_offsets = np.array(parse_basic_offsets(file), np.int64)
    first_item = file.tell()
    if header.extended_offsets is not None:
        offset_table, length_table = header.extended_offsets
        offsets = np.frombuffer(offset_table, "<u8").astype(np.int64)
        lengths = np.frombuffer(length_table, "<u8").astype(np.int64)
        starts = first_item + offsets
        stops = first_item + offsets + _ITEM_HEADER_BYTES + lengths + lengths % 2
        return np.stack([starts, stops], axis=1)
    if len(basic_offsets):
        starts = first_item + basic_offsets
    else:
        starts = _item_starts(file, header.frames)
    stops = np.append(starts[1:], file.size_bytes)
    return np.stack([starts, stops], axis=1)


def _item_starts(file: LimitedFile, frames: int) -> NDArray[np.int64]:
    """Return where the frames of a file without an offset table start.

    Each frame is one item, or a single frame has all items.
    """
    count, starts = parse_fragments(file)
    if count > frames > 1:
        raise UnreadableDicomError(
            f"it has {count} fragments for {frames} frames and no table of offsets"
        )
    return np.array(starts[:frames], np.int64)


def _join_fragments(items: bytes) -> bytes:
    fragments = []
    offset = 0
    while items[
        offset : offset + len(_ITEM_TAG)
    ] == _ITEM_TAG and offset + _ITEM_HEADER_BYTES <= len(items):
        (length,) = struct.unpack_from("<I", items, offset + len(_ITEM_TAG))
        offset += _ITEM_HEADER_BYTES
        if offset + length > len(items):
            raise truncated()
        fragments.append(items[offset : offset + length])
        offset += length
    if not fragments:
        raise UnreadableDicomError("there is no frame where its offset table says", hint=SEND_AGAIN)
    return b"".join(fragments)
