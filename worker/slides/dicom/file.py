"""A DICOM file, parsed up to its pixels.

Limits what pydicom's parser reads and translates what it raises. Its messages are not repeated,
since they may quote a patient's data. Knows nothing of what the elements mean.
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

from worker.slides.errors import UnreadableDicomError

DECODING_ERRORS: Final = (
    BytesLengthException,
    InvalidDicomError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What pydicom and imagecodecs raise on damaged files."""

SEND_AGAIN: Final = "send it again, whole"

_FLOAT_PIXEL_DATA: Final = 0x7FE00008
_DOUBLE_FLOAT_PIXEL_DATA: Final = 0x7FE00009
_PIXEL_DATA: Final = 0x7FE00010
_PIXEL_TAGS: Final = frozenset({_FLOAT_PIXEL_DATA, _DOUBLE_FLOAT_PIXEL_DATA, _PIXEL_DATA})
_TRANSFER_SYNTAX_UID: Final = 0x00020010
_FILE_META_GROUP: Final = 0x0002
# The place of one frame takes about thirty reads, and each of them hundreds of bytes of memory.
_MAX_READS: Final = 2**19
_MAX_VALUE_BYTES: Final = 4 * 2**20
_MAX_LONG_VALUE_BYTES: Final = 32 * 2**20
# Elements that have an entry for each frame.
_PER_FRAME_FUNCTIONAL_GROUPS: Final = 0x52009230
_EXTENDED_OFFSET_TABLE: Final = 0x7FE00001
_EXTENDED_OFFSET_TABLE_LENGTHS: Final = 0x7FE00002
_LONG_TAGS: Final = frozenset(
    {_PER_FRAME_FUNCTIONAL_GROUPS, _EXTENDED_OFFSET_TABLE, _EXTENDED_OFFSET_TABLE_LENGTHS}
)
_MAX_INFLATED_BYTES: Final = 256 * 2**20
_CHUNK_BYTES: Final = 2**20
_UNDEFINED_LENGTH: Final = 0xFFFFFFFF
_LAST_TAG: Final = 0xFFFFFFFF


@contextmanager
def parsing() -> Iterator[None]:
    """Raise errors of pydicom as `UnreadableSlideError`, and silence its log and warnings.

    pydicom parses elements when they are accessed, so each access to a data set needs it.
    """
    log = logging.getLogger("pydicom")
    was_disabled = log.disabled
    log.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except DECODING_ERRORS as error:
        raise UnreadableDicomError(
            f"pydicom can make nothing of its elements ({type(error).__name__})"
        ) from None
    finally:
        log.disabled = was_disabled


class LimitedFile(io.BufferedReader):
    """A file that never allocates memory for more bytes than it has.

    `read` is for pydicom's parser, and limited in how often it may be called. `is_truncated` says
    whether the parser was stopped by the end of the file.
    """

    def __init__(self, raw: io.RawIOBase | io.BytesIO) -> None:
        super().__init__(raw)
        self.size_bytes = self.seek(0, io.SEEK_END)
        self.seek(0)
        self.is_truncated = False
        self._reads = 0
        self._lock = threading.Lock()

    def read(self, size: int | None = -1, /) -> bytes:
        """Return at most `size` bytes from the current position on.

        Raises `UnreadableSlideError` for too many or too large reads.
        """
        remaining = self.size_bytes - self.tell()
        requested = remaining
        if size is not None and size >= 0:
            requested = size
        if remaining < 0 or 0 < remaining < requested:
            self.is_truncated = True
        self._reads += 1
        if self._reads > _MAX_READS or min(requested, remaining) > _MAX_LONG_VALUE_BYTES:
            raise UnreadableDicomError(
                "it has too many elements before its pixels, or too large ones"
            )
        return super().read(max(0, min(requested, remaining)))

    def read_range(self, start: int, stop: int) -> bytes:
        """Return all bytes from `start` to `stop`. Threads may call it at the same time.

        Raises `UnreadableSlideError` if the file ends before.
        """
        size_bytes = stop - start
        data = b""
        if stop <= self.size_bytes:
            with self._lock:
                self.seek(start)
                data = super().read(size_bytes)
        if len(data) < size_bytes:
            raise truncated()
        return data


@dataclass(frozen=True, slots=True)
class PixelData:
    """The element that holds the pixels; `start` is the offset of its value in the file.

    `length_bytes` is None if the length is undefined, as it is for encapsulated pixels.
    """

    tag: int
    vr: str | None
    start: int
    length_bytes: int | None


@dataclass(frozen=True, slots=True)
class DicomFile:
    """An open file. `data_set` holds the requested elements and needs `parsing` for any access."""

    file: LimitedFile
    syntax: UID
    data_set: Dataset
    pixels: PixelData | None


@contextmanager
def dicom_file(path: Path, keywords: Sequence[str], last: int = _LAST_TAG) -> Iterator[DicomFile]:
    """Yield the file with these elements of its top level, up to the tag `last`.

    The file is closed with the context. Raises `UnreadableSlideError`.
    """
    tags: list[BaseTag | int] = []
    for keyword in keywords:
        tag = tag_for_keyword(keyword)
        if tag is not None:
            tags.append(tag)
    with LimitedFile(path.open("rb", buffering=0)) as file:
        with parsing():
            parsed = _parse(file, tags, last)
        yield parsed


def truncated() -> UnreadableDicomError:
    """Return the error for a file that ends too early."""
    return UnreadableDicomError("it ends in the middle", hint=SEND_AGAIN)


class _StopAtPixels:
    """Stops pydicom's parser at the pixels, or after the tag `last`.

    `found` is then the tag, the VR and the length of the element with the pixels.
    """

    def __init__(self, last: int) -> None:
        self._last = last
        self.found: tuple[int, str | None, int] | None = None

    def __call__(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag in _PIXEL_TAGS:
            self.found = (int(tag), vr, length)
            return True
        return int(tag) > self._last


def _parse(file: LimitedFile, tags: list[BaseTag | int], last: int) -> DicomFile:
    read_preamble(file, force=False)
    meta = read_dataset(
        file, False, True, stop_when=_is_past_meta, specific_tags=[_TRANSFER_SYNTAX_UID]
    )
    syntax = UID(meta.TransferSyntaxUID)
    if syntax == DeflatedExplicitVRLittleEndian:
        file = LimitedFile(io.BytesIO(_inflate(file)))
    is_implicit = syntax == ImplicitVRLittleEndian
    is_little_endian = syntax != ExplicitVRBigEndian
    stop = _StopAtPixels(last)
    data_set = read_dataset(file, is_implicit, is_little_endian, stop_when=stop, specific_tags=tags)
    _refuse_long_values(data_set)
    if stop.found is None:
        if file.is_truncated:
            raise truncated()
        return DicomFile(file, syntax, data_set, None)
    tag, vr, length = stop.found
    start = file.tell() + data_element_offset_to_value(is_implicit, vr)
    length_bytes = None
    if length != _UNDEFINED_LENGTH:
        length_bytes = length
    return DicomFile(file, syntax, data_set, PixelData(tag, vr, start, length_bytes))


def _refuse_long_values(data_set: Dataset) -> None:
    """Raise `UnreadableSlideError` for long values that are not parsed yet.

    Parsing a sequence of nothing but empty items takes long.
    """
    for element in data_set.elements():
        if not isinstance(element, RawDataElement) or element.value is None:
            continue
        max_bytes = _MAX_VALUE_BYTES
        if element.tag in _LONG_TAGS:
            max_bytes = _MAX_LONG_VALUE_BYTES
        if len(element.value) > max_bytes:
            raise UnreadableDicomError(f"its element {element.tag} has {len(element.value)} bytes")


def _is_past_meta(tag: BaseTag, vr: str | None, length: int) -> bool:
    del vr, length
    return tag >> 16 != _FILE_META_GROUP


def _inflate(file: LimitedFile) -> bytes:
    """Return the rest of the file, inflated; PS3.5 A.5."""
    decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
    parts = []
    size_bytes = 0
    start = file.tell()
    while not decompressor.eof and start < file.size_bytes:
        stop = min(start + _CHUNK_BYTES, file.size_bytes)
        # One byte beyond the limit shows that there is more.
        limit = _MAX_INFLATED_BYTES - size_bytes + 1
        part = decompressor.decompress(file.read_range(start, stop), limit)
        parts.append(part)
        size_bytes += len(part)
        if size_bytes > _MAX_INFLATED_BYTES:
            raise UnreadableDicomError(
                f"it inflates to more than {_MAX_INFLATED_BYTES >> 20} MiB",
                hint="send it uncompressed",
            )
        start = stop
    if not decompressor.eof:
        raise truncated()
    return b"".join(parts)
