"""Keeps finished blocks of a mask in a file, which only grows.

A record is the header, the zlib stream of the values (uint8, or uint16 where one is larger), then
for each connected part of the block how many of its pixels are known (uint32) and the sums of their
probabilities (float64), all little-endian. Parts are numbered as `labelled` numbers them.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from worker.geometry.frame import Floats, Ints
from worker.inference.merging.mask.blending import NO_CLASS, BlockAnswer, Values

Labels = NDArray[np.int32]

_HEADER: Final = struct.Struct("<8I")
"""Row, column, height, width, bytes of a value, of all values, parts, and sums for each part."""
_FEW_CLASSES: Final = 8
_FASTEST: Final = 1


@dataclass(frozen=True, slots=True)
class Block:
    """The values of a block, (H, W), and its P connected parts.

    `known`: (P,), pixels with a probability. `sums`: (P, K), the sum over them of the probability
    of each class, or (P, 1), of the part's own class.
    """

    row: int
    column: int
    values: Values
    known: Ints
    sums: Floats


def labelled(values: Values, *, with_background: bool) -> tuple[Labels, Values]:
    """Return the number of each pixel's connected part, (H, W) from 1, and the value of each part.

    Parts are 4-connected. They are numbered by value, and those of one value by their first pixel,
    row by row. Without the background its pixels have the number 0.
    """
    labels = np.zeros(values.shape, np.int32)
    value_of: list[int] = []
    for value in _present(values):
        if value == NO_CLASS and not with_background:
            continue
        is_value = values == value
        count, parts = cv2.connectedComponents(
            is_value.view(np.uint8), connectivity=4, ltype=cv2.CV_32S
        )
        parts += len(value_of)
        np.copyto(labels, parts, where=is_value)
        value_of += [value] * (count - 1)
    return labels, np.array(value_of, np.uint16)


def _present(values: Values) -> list[int]:
    """Return the values that there are, in rising order.

    To look for each of a few takes a fraction of the time of counting them all.
    """
    highest = int(values.max(initial=NO_CLASS))
    if highest > _FEW_CLASSES:
        return list(np.flatnonzero(np.bincount(values.ravel())).tolist())
    return [value for value in range(highest + 1) if (values == value).any()]


def measured(answer: BlockAnswer, *, every_class: bool) -> Block:
    """Return the block with the sums of its parts.

    With `every_class` the background has parts too, and each part a sum for each class: a hole that
    is filled takes a class that it did not have. The probability of a class number is 1.
    """
    labels, value_of = labelled(answer.values, with_background=every_class)
    flat = labels.ravel()
    bins = len(value_of) + 1
    known = _known_pixels(flat, answer.is_known, bins)[1:]
    if answer.probabilities is None:
        sums = known[:, None]
    elif every_class:
        columns = [totals(flat, one.ravel(), bins)[1:] for one in answer.probabilities]
        sums = np.stack(columns, axis=1)
    else:
        own = _of_own_class(answer.values, answer.probabilities)
        sums = totals(flat, own.ravel(), bins)[1:, None]
    return Block(answer.row, answer.column, answer.values, known.astype(np.int64), sums)


def _known_pixels(flat: Labels, is_known: NDArray[np.bool_], bins: int) -> Floats:
    """Return how many pixels of each part are known: mostly all, which need no weights."""
    if is_known.all():
        return np.bincount(flat, minlength=bins).astype(np.float64)
    return totals(flat, is_known.ravel(), bins)


def totals(numbers: NDArray[Any], values: NDArray[Any], count: int) -> Floats:
    """Return the sum of the values of each of the first `count` numbers, (count,)."""
    return np.asarray(np.bincount(numbers, values, count), np.float64)


class BlockFile:
    """The blocks in a file, row by row."""

    def __init__(self, path: Path, size_bytes: int = 0) -> None:
        """The first `size_bytes` of the file count; what lies behind them is cut off."""
        self._path = path
        self.size_bytes = size_bytes
        with path.open("ab") as file:
            file.truncate(size_bytes)

    def append(self, block: Block) -> None:
        """Write the block behind the others."""
        value_type = "<u1"
        if block.values.max(initial=NO_CLASS) > np.iinfo(np.uint8).max:
            value_type = "<u2"
        values = block.values.astype(value_type)
        content = zlib.compress(values.tobytes(), _FASTEST)
        parts, sums = block.sums.shape
        shape = block.values.shape
        header = _HEADER.pack(
            block.row, block.column, *shape, values.itemsize, len(content), parts, sums
        )
        known = block.known.astype("<u4").tobytes()
        record = b"".join([header, content, known, block.sums.astype("<f8").tobytes()])
        with self._path.open("ab") as file:
            file.write(record)
        self.size_bytes += len(record)

    def blocks(self) -> Iterator[Block]:
        """Yield all blocks in order, exactly as they were appended."""
        with self._path.open("rb") as file:
            while header := file.read(_HEADER.size):
                row, column, height, width, value_bytes, content_bytes, parts, sums = (
                    _HEADER.unpack(header)
                )
                content = zlib.decompress(file.read(content_bytes))
                values = np.frombuffer(content, f"<u{value_bytes}").astype(np.uint16)
                known = np.frombuffer(file.read(4 * parts), "<u4").astype(np.int64)
                table = np.frombuffer(file.read(8 * parts * sums), "<f8").astype(np.float64)
                yield Block(
                    row, column, values.reshape(height, width), known, table.reshape(parts, sums)
                )


def _of_own_class(values: Values, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how likely the class of each pixel is, the likeliest one; 0 for the background."""
    own: NDArray[np.float32] = np.where(values == NO_CLASS, 0, probabilities.max(axis=0))
    return own
