"""A DICOM file, parsed as far as its pixels and no further.

Owns pydicom's parser and its faults: what it reads is bounded, and what it says of a file is not repeated, for it may
quote a patient. Knows nothing of what the elements mean.
"""

import io
import logging
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import data_element_offset_to_value, read_dataset, read_preamble
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from broker.errors import OrderError

BROKEN: Final = (
    BytesLengthException, InvalidDicomError, ArithmeticError, AttributeError, EOFError, LookupError, OSError,
    RuntimeError, TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip
"""What pydicom and imagecodecs raise over a file that is not as it should be."""

_PIXELS: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})  # floats, doubles, whole numbers
_HEAD_READS: Final = (
    2**19
)  # some thirty for the place of a frame; each costs hundreds of bytes of memory, too
_VALUE_BYTES: Final = 4 * 2**20
_LONG_VALUES: Final = {
    0x52009230: 32 * 2**20,
    0x7FE00001: 32 * 2**20,
    0x7FE00002: 32 * 2**20,
}  # those with all frames
_INFLATED_BYTES: Final = 256 * 2**20
_CHUNK_BYTES: Final = 2**20


def unreadable(detail: str, hint: str = "") -> OrderError:
    """A DICOM file that is broken, or of a kind that is not read."""
    hint = (
        hint
        or "see that the file opens in a DICOM viewer; if it does not, send it or export it again"
    )
    return OrderError("slide_unreadable", f"The DICOM file cannot be read: {detail}", hint=hint)


@contextmanager
def parsing() -> Iterator[None]:
    """Around every look into a data set, which pydicom parses where it is touched. Raises `slide_unreadable`."""
    log = logging.getLogger("pydicom")
    silent, log.disabled = log.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except BROKEN as error:
        raise unreadable(
            f"pydicom can make nothing of its elements ({type(error).__name__})"
        ) from None
    finally:
        log.disabled = silent


class Measured(io.BufferedReader):
    """A file that reserves no memory for more than it has; `read` is for the parser, and there is an end to it."""

    def __init__(self, raw: io.RawIOBase | io.BytesIO) -> None:
        super().__init__(raw)
        self.size_bytes = self.seek(0, io.SEEK_END)
        self.seek(0)
        self.is_cut = False
        self._reads = 0
        self._lock = threading.Lock()

    def read(self, size: int | None = -1, /) -> bytes:
        """At most `size` bytes from here on. Raises `OrderError` once the parser has come too often."""
        left = self.size_bytes - self.tell()
        wanted = left if size is None or size < 0 else size
        self.is_cut |= left < 0 or 0 < left < wanted
        self._reads += 1
        if self._reads > _HEAD_READS or min(wanted, left) > _LONG_VALUES[0x7FE00001]:
            raise unreadable("it has too many elements before its pixels, or too large ones")
        return super().read(max(0, min(wanted, left)))

    def between(self, start: int, stop: int) -> bytes:
        """All bytes from `start` to `stop`; threads may ask at the same time. Raises `OrderError`: it ends before."""
        with self._lock:
            self.seek(start)
            given = super().read(stop - start) if stop <= self.size_bytes else b""
        if len(given) < stop - start:
            raise cut()
        return given


@dataclass(frozen=True, slots=True)
class PixelData:
    """Where the element with the pixels is: its tag, its VR, its value's first byte and length (None: undefined)."""

    tag: int
    vr: str | None
    start: int
    length_bytes: int | None


@dataclass(frozen=True, slots=True)
class DicomFile:
    """An open file. `data_set` holds the elements that were asked for and may only be touched while `parsing`."""

    file: Measured
    syntax: UID
    data_set: Dataset
    pixels: PixelData | None


@contextmanager
def dicom_file(path: Path, keywords: Sequence[str], last: int = 0xFFFFFFFF) -> Iterator[DicomFile]:
    """The file with these elements of its top level, of those up to the tag `last`, while the context lasts.

    Raises `OrderError`: `slide_unreadable`.
    """
    with Measured(path.open("rb", buffering=0)) as file:
        with parsing():
            parsed = _parsed(file, [tag for tag in map(tag_for_keyword, keywords) if tag], last)
        yield parsed


def cut() -> OrderError:
    """A file that ends too early."""
    return unreadable("it ends in the middle", hint="send it again, whole")


class _Stop:
    """Where the parser stops: at the pixels, or past the last element that is wanted."""

    def __init__(self, last: int) -> None:
        self._last = last
        self.found: tuple[int, str | None, int] | None = None

    def __call__(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag in _PIXELS:
            self.found = int(tag), vr, length
        return tag in _PIXELS or tag > self._last


def _parsed(file: Measured, tags: list[BaseTag | int], last: int) -> DicomFile:
    read_preamble(file, force=False)
    meta = read_dataset(file, False, True, stop_when=_past_meta, specific_tags=[0x00020010])
    syntax = UID(meta.TransferSyntaxUID)
    if syntax == DeflatedExplicitVRLittleEndian:
        file = Measured(io.BytesIO(_inflated(file)))
    is_implicit, is_little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    stop = _Stop(last)
    data_set = read_dataset(file, is_implicit, is_little, stop_when=stop, specific_tags=tags)
    _refuse_long(data_set)
    if stop.found is None:
        if file.is_cut:
            raise cut()
        return DicomFile(file, syntax, data_set, None)
    tag, vr, length = stop.found
    start = file.tell() + data_element_offset_to_value(is_implicit, vr)
    return DicomFile(
        file, syntax, data_set, PixelData(tag, vr, start, None if length == 0xFFFFFFFF else length)
    )


def _refuse_long(data_set: Dataset) -> None:
    """Values are parsed only where they are touched, and a sequence of nothing but empty items takes long."""
    for element in data_set.elements():
        value = element.value if isinstance(element, RawDataElement) else None
        if len(value or b"") > _LONG_VALUES.get(element.tag, _VALUE_BYTES):
            raise unreadable(f"its element {element.tag} has {len(value or b'')} bytes")


def _past_meta(tag: BaseTag, vr: str | None, length: int) -> bool:
    del vr, length
    return tag >> 16 != 2


def _inflated(file: Measured) -> bytes:
    """What of the file is left, inflated; PS3.5 A.5."""
    inflate, parts, size = zlib.decompressobj(-zlib.MAX_WBITS), [], 0
    start = file.tell()
    while not inflate.eof and start < file.size_bytes:
        stop = min(start + _CHUNK_BYTES, file.size_bytes)
        parts.append(inflate.decompress(file.between(start, stop), _INFLATED_BYTES - size + 1))
        size += len(parts[-1])
        if size > _INFLATED_BYTES:
            raise unreadable(
                f"it inflates to more than {_INFLATED_BYTES >> 20} MiB", hint="send it uncompressed"
            )
        start = stop
    if not inflate.eof:
        raise cut()
    return b"".join(parts)
