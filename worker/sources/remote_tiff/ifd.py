"""The directory of a TIFF or BigTIFF that is not all here: every IFD, and where the values of every tag lie.

Owns the walk (TIFF 6.0 section 2, BigTIFF's 64-bit form of it) and its limits: a directory may be hostile. Must not
know what the tags say of pictures, nor how bytes are fetched.
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
_WINDOW_BYTES: Final = 2**14  # comes with each IFD: its values mostly lie behind it
_SUB_IFDS: Final = 330
_HEADER_BYTES: Final = 16
_VALUE_BYTES: Final = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8,
}  # fmt: skip
_WHOLE_NUMBERS: Final = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag: the type and the place of its values."""

    kind: int
    values: Range


Tags = Mapping[int, Tag]
"""The tags of one IFD by their codes."""


@dataclass(frozen=True, slots=True)
class _Form:
    """The form of the file: byte order, and `struct` formats of an IFD's count, its entries and an offset."""

    order: str
    count: str
    entry: str
    offset: str

    def unpack(self, form: str, data: bytes) -> tuple[int, ...]:
        """Numbers in the file's byte order. Raises `RangesUnsuitable` where the file ends before."""
        try:
            return struct.unpack(self.order + form, data)
        except struct.error:
            raise RangesUnsuitable("its directory is cut off") from None


_CLASSIC: Final = ("H", "HHI4s", "I")
_BIG: Final = ("Q", "HHQ8s", "Q")


class TiffDirectory:
    """Every IFD of a file. Raises `RangesUnsuitable`."""

    def __init__(self, file: SparseFile, form: _Form) -> None:
        self._file, self._form = file, form
        self._bytes = 0
        self.ifds: list[Tags] = []

    @classmethod
    def of(cls, file: SparseFile) -> Self:
        """Fetch it, so that any reader finds in the file all that it could look up in the whole one, but pixels."""
        head = file.read(Range(0, _HEADER_BYTES))
        directory, first = cls(file, form := _form(head)), _first(head, form)
        directory._walk(first)
        file.need(tag.values for tags in directory.ifds for tag in tags.values())
        return directory

    def numbers(self, tag: Tag | None) -> Ints:
        """The whole numbers of a tag; none where there is no such tag, or one of them needs 64 bits. Raises `RangesUnsuitable`."""
        kind = _WHOLE_NUMBERS.get(tag.kind) if tag else None
        if not tag or not kind:
            return np.empty(0, np.int64)
        if tag.values.stop - tag.values.start > _MAX_NUMBERS * _VALUE_BYTES[tag.kind]:
            raise RangesUnsuitable(f"one of its tags holds more than {_MAX_NUMBERS} numbers")
        self._file.need([tag.values])
        found = np.frombuffer(self._file.read(tag.values), self._form.order + kind)
        return (
            found.astype(np.int64)
            if not found.size or int(found.max()) < 2**63
            else np.empty(0, np.int64)
        )

    def _walk(self, first: int) -> None:
        ahead, seen = [first], {0}
        while ahead:
            at = ahead.pop(0)
            if at in seen:  # sub-IFDs that are listed, and name each other as the next one as well
                continue
            if len(self.ifds) == _MAX_IFDS:
                raise RangesUnsuitable(f"its directory has more than {_MAX_IFDS} parts")
            seen.add(at)
            tags, following = self._ifd(at)
            self.ifds.append(tags)
            ahead += [following, *self.numbers(tags.get(_SUB_IFDS))[:_MAX_IFDS].tolist()]

    def _ifd(self, at: int) -> tuple[Tags, int]:
        """The tags of the IFD at this offset, and the offset of the next one, 0 at the end."""
        form = self._form
        count_bytes, entry_bytes, offset_bytes = (
            struct.calcsize(form.order + part) for part in (form.count, form.entry, form.offset)
        )
        (count,) = form.unpack(form.count, self._bring(at, count_bytes))
        if count > _MAX_TAGS:
            raise RangesUnsuitable(f"a part of its directory has {count} tags")
        entries_at = at + count_bytes
        data = self._bring(entries_at, count * entry_bytes + offset_bytes)
        (following,) = form.unpack(form.offset, data[-offset_bytes:])
        tags = {}
        for number in range(count):
            start = number * entry_bytes
            code, kind, length, value = struct.unpack(
                form.order + form.entry, data[start : start + entry_bytes]
            )
            inline_at = entries_at + start + entry_bytes - offset_bytes
            tags[code] = Tag(kind, self._values(kind, length, value, inline_at))
        return tags, following

    def _values(self, kind: int, length: int, value: bytes, inline_at: int) -> Range:
        size_bytes = _VALUE_BYTES.get(kind, 0) * length
        if size_bytes <= len(value):
            return Range(inline_at, inline_at + size_bytes)
        (start,) = self._form.unpack(self._form.offset, value)
        self._count(start, size_bytes)
        return Range(start, start + size_bytes)

    def _bring(self, at: int, size_bytes: int) -> bytes:
        """Bytes of an IFD, fetched with what lies behind them."""
        self._count(at, size_bytes)
        wanted = Range(at, at + size_bytes)
        if not self._file.has(wanted):
            self._file.need(
                [Range(at, min(at + max(size_bytes, _WINDOW_BYTES), self._file.total_bytes))]
            )
        return self._file.read(wanted)

    def _count(self, at: int, size_bytes: int) -> None:
        self._bytes += size_bytes
        if at + size_bytes > self._file.total_bytes or self._bytes > _MAX_BYTES:
            raise RangesUnsuitable(
                f"its directory leads out of the file, or has more than {_MAX_BYTES} bytes"
            )


def _form(head: bytes) -> _Form:
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order:
        for magic, parts in ((42, _CLASSIC), (43, _BIG)):
            if head[2:4] == struct.pack(order + "H", magic):
                return _Form(order, *parts)
    raise RangesUnsuitable("it is no TIFF")


def _first(head: bytes, form: _Form) -> int:
    """The offset of the first IFD."""
    if form.offset == "I":
        return form.unpack("I", head[4:8])[0]
    width_bytes, zero, first = form.unpack("HHQ", head[4:16])
    if (width_bytes, zero) != (8, 0):
        raise RangesUnsuitable("it is no BigTIFF")
    return first
