"""Serves the slide of one run from this machine's disk: a file by ranges, or all files as a zip."""

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)")
_PIECE_BYTES: Final = 2**20


@dataclass(frozen=True, slots=True)
class SlideFiles:
    """A slide: its main file, and all of its files by their names in an archive."""

    main: Path
    files: Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes of a file: `length` of them from `start` on."""

    start: int
    length: int


class UnsatisfiableRangeError(Exception):
    """The file has no such bytes."""


def requested_range(header: str | None, size: int) -> Range | None:
    """Return the bytes that a Range header asks for, None for the whole file.

    A header that is not understood, or asks for several ranges, is ignored, as RFC 9110 14.2 says.
    Raise `UnsatisfiableRangeError`.
    """
    match = _RANGE.fullmatch((header or "").strip())
    if not match or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        length = min(int(last), size)
        if not length:
            raise UnsatisfiableRangeError
        return Range(size - length, length)
    start = int(first)
    end = size
    if last:
        end = min(size, int(last) + 1)
    if start >= size or end <= start:
        raise UnsatisfiableRangeError
    return Range(start, end - start)


class _Sink(Protocol):
    def write(self, content: bytes, /) -> object: ...


class _ChunkedStream:
    """Writes HTTP chunks; `zipfile` writes an archive into it as it comes, without going back."""

    def __init__(self, sink: _Sink) -> None:
        self._sink = sink

    def write(self, content: bytes | bytearray | memoryview) -> int:
        """Write one chunk."""
        if content:
            self._sink.write(b"%x\r\n" % len(content) + bytes(content) + b"\r\n")
        return len(content)

    def flush(self) -> None:
        """Do nothing: every chunk has been written."""

    def close(self) -> None:
        """Do nothing: the connection goes on."""

    def end(self) -> None:
        """Write the end of the body."""
        self._sink.write(b"0\r\n\r\n")


def write_zip(files: Mapping[str, Path], sink: _Sink) -> None:
    """Write the files as an archive without compression, as a body in chunks.

    Slides are compressed already, so nothing is gained and nothing is kept in memory or on disk.
    """
    stream = _ChunkedStream(sink)
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, path in files.items():
            with path.open("rb") as file, archive.open(name, "w", force_zip64=True) as member:
                while piece := file.read(_PIECE_BYTES):
                    member.write(piece)
    stream.end()
