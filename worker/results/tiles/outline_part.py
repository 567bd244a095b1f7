"""Encodes the outlines of one tile: SLF1, or SLF2 where classes need 16 bits. docs/formats.md
describes both."""

import gzip
import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from worker.geometry.frame import Ints
from worker.results.polygons import STEPS_PER_PX as FILE_STEPS_PER_PX
from worker.results.tiles.stored_outlines import RingBatch

VERSION: Final = 1
GZIP_LEVEL: Final = 4
"""A megabyte less of a million outlines takes twice as long at level 6."""
STEPS_PER_PX: Final = 4
"""Points are quarters of a pixel of the tile's zoom."""
MAX_NARROW_CLASSES: Final = 256
_MAX_POINTS: Final = 2**16 - 1

Steps = NDArray[np.int32]


def encode(
    numbers: Ints,
    classes: Ints,
    scores: NDArray[np.uint8],
    steps: Steps,
    lengths: Ints,
    *,
    wide: bool,
) -> bytes:
    """Return the part, packed by gzip.

    All but `steps` have a row for each ring. `steps`: (2, sum of lengths), x and y in quarters of a
    pixel from the upper left corner of the tile. `wide`: whether classes are written in 16 bits.
    """
    starts = lengths.cumsum() - lengths
    first = steps[:, starts].astype("<i2")
    moves = np.zeros((steps.shape[1], 2), "<i2")
    np.subtract(steps[:, 1:], steps[:, :-1], out=moves[1:].T, casting="unsafe")
    moves[starts] = 0
    magic = b"SLF1"
    kinds = classes.astype("u1").tobytes()
    if wide:
        magic = b"SLF2"
        kinds = classes.astype("<u2").tobytes()
        kinds += bytes(-len(kinds) % 4)
    columns = (
        struct.pack("<4sIII", magic, VERSION, len(numbers), steps.shape[1]),
        numbers.astype("<u4").tobytes(),
        first.tobytes(),
        lengths.astype("<u2").tobytes(),
        kinds,
        scores.tobytes(),
        moves.tobytes(),
    )
    return gzip.compress(b"".join(columns), GZIP_LEVEL, mtime=0)


def quantized(
    rings: RingBatch, corner: tuple[int, int], px_per_px: int, *, keeps_all: bool
) -> tuple[Steps, Ints]:
    """Return the points of all rings in quarters of a pixel from `corner`, and their lengths.

    `px_per_px`: level-0 pixels in one of the tile. Unless it `keeps_all`, points that equal the one
    before them are left out. A ring of more than 65,535 points loses some.
    """
    quarters_per_step = STEPS_PER_PX / (px_per_px * FILE_STEPS_PER_PX)
    exact = rings.steps * quarters_per_step
    exact -= np.array(corner)[:, None] * (STEPS_PER_PX / px_per_px)
    steps = np.rint(exact, out=exact).astype(np.int32)
    if not keeps_all or rings.lengths.max(initial=0) > _MAX_POINTS:
        return _short_enough(*_without_repeats(steps, rings.lengths))
    return steps, rings.lengths


def reach_px(steps: Steps, tile_px: int) -> float:
    """Return how far the farthest point lies outside of the tile, in pixels of its zoom."""
    edge = tile_px * STEPS_PER_PX
    beyond = max(-int(steps.min()), int(steps.max()) - edge, 0)
    return beyond / STEPS_PER_PX


def _without_repeats(steps: Steps, lengths: Ints) -> tuple[Steps, Ints]:
    """Leave out each point that equals the one before it; of a ring at least one is left."""
    starts = lengths.cumsum() - lengths
    is_new = np.ones(steps.shape[1], np.bool_)
    is_new[1:] = (steps[:, 1:] != steps[:, :-1]).any(axis=0)
    is_new[starts] = True
    return steps[:, is_new], np.add.reduceat(is_new, starts, dtype=np.int64)


def _short_enough(steps: Steps, lengths: Ints) -> tuple[Steps, Ints]:
    """Return rings of at most 65,535 points each: of longer ones only every second point, or third,
    and so on.
    """
    if lengths.max(initial=0) <= _MAX_POINTS:
        return steps, lengths
    strides = -(-lengths // _MAX_POINTS)
    starts = lengths.cumsum() - lengths
    place = np.arange(steps.shape[1]) - np.repeat(starts, lengths)
    is_kept = place % np.repeat(strides, lengths) == 0
    return steps[:, is_kept], -(-lengths // strides)
