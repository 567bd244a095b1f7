"""The directory of a remote TIFF or BigTIFF: every IFD, and where the values of every tag are.

TIFF 6.0 section 2, and BigTIFF's 64-bit form of it. All sizes are limited: a file may be hostile.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from worker.geometry.frame import Ints
from worker.sources.http.byte_ranges import Range, RangesUnsuitable
from worker.sources.remote_tiff.sparse_file import SparseFile

_MAX_IFDS: Final = 256
_MAX_TAGS: Final = 512
_MAX_NUMBERS: Final = 2**20  # tiles of a level: 260,000 px square, in tiles of 256 px
_MAX_BYTES: Final = 2**26
_WINDOW_BYTES: Final = 2**14  # fetched with each IFD: its values are mostly behind it
_SUB_IFDS: Final = 330
_HEADER_BYTES: Final = 16
_VALUE_BYTES: Final = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2,
    9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8,
}  # fmt: skip
_WHOLE_NUMBERS: Final = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}


@dataclass(frozen=True, slots=True)
class Tag:
    """The type of one tag, and where in the file its values are."""

    kind: int
    values: Range


Tags = Mapping[int, Tag]
"""The tags of one IFD by their codes."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """The byte order of the file, and `struct` formats of an IFD's count, entries and offsets."""

    order: str
    count: str
    entry: str
    offset: str

    def unpack(self, layout: str, data: bytes) -> tuple[int, ...]:
        """Return numbers in the file's byte order.

        Raise `RangesUnsuitable` where the file ends before.
        """
        try:
            return struct.unpack(self.order + layout, data)
        except struct.error:
            raise RangesUnsuitable("its directory is cut off") from None


_CLASSIC_TIFF: Final = ("H", "HHI4s", "I")
_BIG_TIFF: Final = ("Q", "HHQ8s", "Q")


class TiffDirectory:
    """Every IFD of a file. Its methods raise `RangesUnsuitable`."""

    def __init__(self, file: SparseFile, layout: _Layout) -> None:
        self._file = file
        self._layout = layout
        self._counted_bytes = 0
        self.ifds: list[Tags] = []

    @classmethod
    def fetch(cls, file: SparseFile) -> Self:
        """Fetch all IFDs and the values of all tags.

        A reader of the file then finds all that it would find in the whole one, except pixels.
        """
        header = file.read(Range(0, _HEADER_BYTES))
        layout = _layout(header)
        directory = cls(file, layout)
        directory._walk(_first_ifd(header, layout))
        file.need(tag.values for tags in directory.ifds for tag in tags.values())
        return directory

    def numbers(self, tag: Tag | None) -> Ints:
        """Return the whole numbers of a tag.

        They are none where there is no such tag, or one of its numbers needs all 64 bits.
        """
        kind = _WHOLE_NUMBERS.get(tag.kind) if tag else None
        if not tag or not kind:
            return np.empty(0, np.int64)
        if tag.values.stop - tag.values.start > _MAX_NUMBERS * _VALUE_BYTES[tag.kind]:
            raise RangesUnsuitable(f"one of its tags holds more than {_MAX_NUMBERS} numbers")
        self._file.need([tag.values])
        numbers = np.frombuffer(self._file.read(tag.values), self._layout.order + kind)
        if numbers.size and int(numbers.max()) >= 2**63:
            return np.empty(0, np.int64)
        return numbers.astype(np.int64)

    def _walk(self, first_offset: int) -> None:
        offsets = [first_offset]
        seen = {0}
        while offsets:
            offset = offsets.pop(0)
            if offset in seen:  # sub-IFDs may be listed and also name each other as the next one
                continue
            if len(self.ifds) == _MAX_IFDS:
                raise RangesUnsuitable(f"its directory has more than {_MAX_IFDS} parts")
            seen.add(offset)
            tags, next_offset = self._ifd(offset)
            self.ifds.append(tags)
            offsets.append(next_offset)
            offsets += self.numbers(tags.get(_SUB_IFDS))[:_MAX_IFDS].tolist()

    def _ifd(self, offset: int) -> tuple[Tags, int]:
        """Return the tags of the IFD at `offset`, and the offset of the next one, 0 at the end."""
        layout = self._layout
        count_bytes = struct.calcsize(layout.order + layout.count)
        entry_bytes = struct.calcsize(layout.order + layout.entry)
        offset_bytes = struct.calcsize(layout.order + layout.offset)
        (count,) = layout.unpack(layout.count, self._fetch(offset, count_bytes))
        if count > _MAX_TAGS:
            raise RangesUnsuitable(f"a part of its directory has {count} tags")
        entries_offset = offset + count_bytes
        data = self._fetch(entries_offset, count * entry_bytes + offset_bytes)
        (next_offset,) = layout.unpack(layout.offset, data[-offset_bytes:])
        tags = {}
        for start in range(0, count * entry_bytes, entry_bytes):
            code, kind, length, value = struct.unpack(
                layout.order + layout.entry, data[start : start + entry_bytes]
            )
            inline_offset = entries_offset + start + entry_bytes - offset_bytes
            tags[code] = Tag(kind, self._values(kind, length, value, inline_offset))
        return tags, next_offset

    def _values(self, kind: int, length: int, value: bytes, inline_offset: int) -> Range:
        """Return where the values of a tag are: in its entry if they fit, else where it points."""
        size_bytes = _VALUE_BYTES.get(kind, 0) * length
        if size_bytes <= len(value):
            return Range(inline_offset, inline_offset + size_bytes)
        (start,) = self._layout.unpack(self._layout.offset, value)
        self._count(start, size_bytes)
        return Range(start, start + size_bytes)

    def _fetch(self, offset: int, size_bytes: int) -> bytes:
        """Return bytes of an IFD, fetched together with what is behind them."""
        self._count(offset, size_bytes)
        needed = Range(offset, offset + size_bytes)
        if not self._file.has(needed):
            window_end = offset + max(size_bytes, _WINDOW_BYTES)
            self._file.need([Range(offset, min(window_end, self._file.total_bytes))])
        return self._file.read(needed)

    def _count(self, offset: int, size_bytes: int) -> None:
        self._counted_bytes += size_bytes
        if offset + size_bytes > self._file.total_bytes or self._counted_bytes > _MAX_BYTES:
            raise RangesUnsuitable(
                f"its directory leads out of the file, or has more than {_MAX_BYTES} bytes"
            )


def _layout(header: bytes) -> _Layout:
    order = {b"II": "<", b"MM": ">"}.get(header[:2])
    if order:
        for version, formats in ((42, _CLASSIC_TIFF), (43, _BIG_TIFF)):
            if header[2:4] == struct.pack(order + "H", version):
                return _Layout(order, *formats)
    raise RangesUnsuitable("it is no TIFF")


def _first_ifd(header: bytes, layout: _Layout) -> int:
    """Return the offset of the first IFD."""
    if layout.offset == "I":
        return layout.unpack("I", header[4:8])[0]
    width_bytes, zero, first_offset = layout.unpack("HHQ", header[4:16])
    if (width_bytes, zero) != (8, 0):
        raise RangesUnsuitable("it is no BigTIFF")
    return first_offset
