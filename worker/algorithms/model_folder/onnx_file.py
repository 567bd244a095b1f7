"""Looks into an ONNX file for the files beside it that hold its weights, without any library.

ONNX files are protocol buffers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto. Weights
may lie in other files, whose names the tensors state; a hostile name could make any file of the
machine a weight. Loads neither onnx nor onnxruntime.
"""

import mmap
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

_DEEPEST: Final = 64
_MOST_CHARS: Final = 1000
_LENGTH_DELIMITED: Final = 2
_FIXED_BYTES: Final = {1: 8, 5: 4}
# The messages that may hold tensors: by message, the numbers of their fields and what those hold.
_NESTED: Final[Mapping[str, Mapping[int, str]]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_KEY: Final = 1
_VALUE: Final = 2
_Bytes = memoryview


def external_files(file: Path) -> tuple[Path, ...]:
    """Return the files beside an ONNX file that hold weights of it.

    Raises ValueError where it is no ONNX file, or names a file that is not in its folder.
    """
    status = file.stat()
    return _external_files_of_version(file, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@lru_cache(maxsize=16)
def _external_files_of_version(
    file: Path, size_bytes: int, _modified_ns: int, _changed_ns: int
) -> tuple[Path, ...]:
    if not size_bytes:
        raise ValueError(f"{file.name} is no ONNX file: it is empty")
    found: dict[str, Path] = {}
    with (
        file.open("rb") as content,
        mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as whole,
    ):
        try:
            for location in _locations(whole, "model", 0):
                if location not in found:
                    found[location] = _inside(file, location)
        except (IndexError, UnicodeDecodeError):
            raise ValueError(f"{file.name} is no ONNX file, or is damaged") from None
    return tuple(found[location] for location in sorted(found))


def _inside(file: Path, location: str) -> Path:
    """Return the file of this name in the folder of the ONNX file."""
    is_plain = location and "\0" not in location and ".." not in Path(location).parts
    other = file.parent / location
    if (
        not is_plain
        or len(location) > _MOST_CHARS
        or Path(location).is_absolute()
        or not other.resolve().is_relative_to(file.parent.resolve())
    ):
        raise ValueError(
            f"{file.name} names weights in {location[:100]!r}, which is not in its folder"
        )
    if not other.is_file():
        raise ValueError(f"{file.name} names weights in {location[:100]!r}, which is not there")
    return other


def _locations(content: _Bytes, message: str, depth: int) -> Iterator[str]:
    """Yield the names of files in this message and those inside of it."""
    if depth > _DEEPEST:
        raise IndexError
    nested = _NESTED[message]
    for number, part in _fields(content):
        if number not in nested:
            continue
        if nested[number] == "entry":
            entry = dict(_fields(part))
            if bytes(entry.get(_KEY, b"")) == b"location":
                yield bytes(entry.get(_VALUE, b"")).decode()
        else:
            yield from _locations(part, nested[number], depth + 1)


def _fields(content: _Bytes) -> Iterator[tuple[int, _Bytes]]:
    """Yield number and content of each field that has a length. Raises IndexError for damage."""
    position = 0
    while position < len(content):
        tag, position = _varint(content, position)
        kind = tag & 7
        if kind == _LENGTH_DELIMITED:
            length, position = _varint(content, position)
            if position + length > len(content):
                raise IndexError
            yield tag >> 3, content[position : position + length]
            position += length
        elif kind == 0:
            _, position = _varint(content, position)
        elif kind in _FIXED_BYTES:
            position += _FIXED_BYTES[kind]
        else:
            raise IndexError
    if position > len(content):
        raise IndexError


def _varint(content: _Bytes, position: int) -> tuple[int, int]:
    """Return the number that begins here and the position behind it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise IndexError
