"""Encodes the outlines of one tile: SLF1, or SLF2 where classes need 16 bits. docs/formats.md
describes both."""

import gzip
import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from worker.geometry.frame import Floats, Ints
from worker.geometry.outlines import without_small_turns
from worker.results.tiles.stored_outlines import RingBatch

VERSION: Final = 1
GZIP_LEVEL: Final = 4
"""A megabyte less of a million outlines takes twice as long at level 6."""
STEPS_PER_PX: Final = 4
"""Points are quarters of a pixel of the tile's zoom."""
MAX_NARROW_CLASSES: Final = 256
_MAX_POINTS: Final = 2**16 - 1
_REACH_STEPS: Final = 2**15 - 1

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

    All but `steps` have a row for each ring. `steps`: (sum of lengths, 2), quarters of a pixel from
    the upper left corner of the tile. `wide`: whether classes are written in 16 bits.
    """
    starts = lengths.cumsum() - lengths
    first = steps[starts]
    deltas = np.diff(steps, axis=0, prepend=steps[:1])
    deltas[starts] = 0
    magic = b"SLF1"
    kinds = classes.astype("u1").tobytes()
    if wide:
        magic = b"SLF2"
        kinds = classes.astype("<u2").tobytes()
        kinds += bytes(-len(kinds) % 4)
    columns = (
        struct.pack("<4sIII", magic, VERSION, len(numbers), len(steps)),
        numbers.astype("<u4").tobytes(),
        first[:, 0].astype("<i2").tobytes(),
        first[:, 1].astype("<i2").tobytes(),
        lengths.astype("<u2").tobytes(),
        kinds,
        scores.tobytes(),
        deltas.astype("<i2").tobytes(),
    )
    return gzip.compress(b"".join(columns), GZIP_LEVEL, mtime=0)


def quantized(
    rings: RingBatch, corner: tuple[int, int], px_per_px: int, *, keeps_all: bool
) -> tuple[Steps, Ints]:
    """Return the points of all rings in quarters of a pixel from `corner`, and their lengths.

    `px_per_px`: level-0 pixels in one of the tile. Unless it `keeps_all`, points that equal the one
    before them are left out. A ring of more than 65,535 points is made simpler.
    """
    scale = px_per_px / STEPS_PER_PX
    points = (rings.points - corner) / scale
    lengths = rings.lengths
    if keeps_all and lengths.max(initial=0) <= _MAX_POINTS:
        return np.rint(points).astype(np.int32), lengths
    steps = np.rint(points).astype(np.int32)
    steps, lengths = _without_repeats(steps, lengths)
    if lengths.max(initial=0) > _MAX_POINTS:
        return _simplified(steps, lengths)
    return steps, lengths


def reach_px(steps: Steps, tile_px: int) -> float:
    """Return how far the farthest point lies outside of the tile, in pixels of its zoom."""
    edge = tile_px * STEPS_PER_PX
    beyond = max(-int(steps.min()), int(steps.max()) - edge, 0)
    return beyond / STEPS_PER_PX


def _without_repeats(steps: Steps, lengths: Ints) -> tuple[Steps, Ints]:
    """Leave out each point that equals the one before it; of a ring at least one is left."""
    starts = lengths.cumsum() - lengths
    is_new = np.ones(len(steps), np.bool_)
    is_new[1:] = (steps[1:] != steps[:-1]).any(axis=1)
    is_new[starts] = True
    return steps[is_new], np.add.reduceat(is_new, starts).astype(np.int64)


def _simplified(steps: Steps, lengths: Ints) -> tuple[Steps, Ints]:
    """Return rings of at most 65,535 points each: only those that have more lose some."""
    rings: list[Floats] = []
    start = 0
    for length in lengths.tolist():
        ring = steps[start : start + length].astype(np.float64)
        start += length
        tolerance = 1.0
        simple = ring
        while len(simple) > _MAX_POINTS:
            simple = without_small_turns([ring], tolerance)[0]
            tolerance *= 2
        rings.append(simple)
    shorter = np.array([len(ring) for ring in rings])
    return np.rint(np.concatenate(rings)).astype(np.int32), shorter
