"""Where in a DICOM file each frame lies, and its bytes.

Owns offset tables, items and fragments (PS3.5 A.4); knows nothing of what the bytes mean.
"""

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import parse_basic_offsets, parse_fragments

from worker.slides.dicom.file import DicomFile, Measured, cut, parsing, unreadable
from worker.slides.dicom.header import Head

_ITEM: Final = struct.pack("<HH", 0xFFFE, 0xE000)
_HEADER_BYTES: Final = 8  # of an item: its tag and its length
_SLACK_BYTES: Final = 2**20  # what a compressed frame may have beyond twice its pixels
_Places = NDArray[np.int64]


class Frames:
    """The frames of one file as they are stored. Threads may share them."""

    def __init__(self, file: DicomFile, head: Head) -> None:
        """Raises `OrderError` where the file does not hold as many frames as it says, whole."""
        self._file = file.file
        self._is_native = not head.syntax.is_encapsulated
        self._most_bytes = 2 * frame_bytes(head) + _SLACK_BYTES
        with parsing():
            self._places = _native(head) if self._is_native else _encapsulated(self._file, head)
        if len(self._places) != head.frames:
            raise unreadable(f"it says {head.frames} frames and has {len(self._places)}")
        starts, stops = self._places.T
        if (
            (starts < head.pixels.start).any()
            or (stops <= starts).any()
            or (stops > self._file.size_bytes).any()
        ):
            raise unreadable(
                "frames lie outside it; it was cut, or its offset table is wrong",
                "send it again, whole",
            )
        self.stored(head.frames - 1)

    def stored(self, number: int) -> bytes:
        """The bytes of a frame, counted from 0, its fragments put together."""
        start, stop = (int(place) for place in self._places[number])
        if self._is_native:
            return self._file.between(start, stop)
        return _joined(self._file.between(start, min(stop, start + self._most_bytes)))


def frame_bytes(head: Head) -> int:
    """Of one frame uncompressed; PS3.3 C.7.6.3.1.2 for the pairs that share their colour."""
    stored = head.stored
    size = stored.rows * stored.columns * stored.samples * (stored.bits_allocated // 8)
    is_paired = stored.photometric == "YBR_FULL_422" and not head.syntax.is_encapsulated
    return size * 2 // 3 if is_paired else size


def _native(head: Head) -> _Places:
    size = frame_bytes(head)
    if head.pixels.length_bytes is None or head.pixels.length_bytes < size * head.frames:
        raise unreadable(f"{head.frames} frames of {size} bytes do not fit in its pixel data")
    starts = head.pixels.start + size * np.arange(head.frames, dtype=np.int64)
    return np.stack([starts, starts + size], axis=1)


def _encapsulated(file: Measured, head: Head) -> _Places:
    file.seek(head.pixels.start)
    basic = np.array(parse_basic_offsets(file), np.int64)
    start = file.tell()
    if head.offsets is not None:
        offsets, lengths = (np.frombuffer(table, "<u8").astype(np.int64) for table in head.offsets)
        return np.stack(
            [start + offsets, start + offsets + _HEADER_BYTES + lengths + lengths % 2], axis=1
        )
    starts = start + basic if len(basic) else _counted(file, head.frames)
    return np.stack([starts, np.append(starts[1:], file.size_bytes)], axis=1)


def _counted(file: Measured, frames: int) -> NDArray[np.int64]:
    """Where the frames of a file without an offset table begin: one item each, or all items for the only one."""
    count, starts = parse_fragments(file)
    if count > frames > 1:
        raise unreadable(f"it has {count} fragments for {frames} frames and no table of offsets")
    return np.array(starts[:frames], np.int64)


def _joined(items: bytes) -> bytes:
    parts, at = [], 0
    while items[at : at + 4] == _ITEM and at + _HEADER_BYTES <= len(items):
        (length,) = struct.unpack_from("<I", items, at + 4)
        at += _HEADER_BYTES
        if at + length > len(items):
            raise cut()
        parts.append(items[at : at + length])
        at += length
    if not parts:
        raise unreadable("there is no frame where its offset table says", "send it again, whole")
    return b"".join(parts)
