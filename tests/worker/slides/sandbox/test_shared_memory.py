"""Memory shared by two processes: pixels are not copied, and neither can take it from the other."""

import fcntl
import os
import sys

import numpy as np
import pytest

from worker.slides.sandbox.shared_memory import SLOT_BYTES, SharedPixels, map_shared_pixels


def test_what_one_end_writes_the_other_sees() -> None:
    """Pixels written at the offset are seen there, and nowhere else."""
    shared = SharedPixels(2)
    other = map_shared_pixels(shared.fd, 2)
    tiles = shared.slot(1, (3, 4, 4, 3))
    assert tiles is not None
    offset = shared.offset_of(tiles[1:])
    assert offset == SLOT_BYTES + 48
    other[offset : offset + 96] = 7
    assert tiles[1:].min() == 7
    assert tiles[0].max() == 0


def test_pixels_that_lie_elsewhere_have_no_place() -> None:
    """Other arrays have no offset, and pixels larger than a slot get none."""
    shared = SharedPixels(1)
    assert shared.offset_of(np.zeros((4, 4, 3), np.uint8)) is None
    assert shared.slot(0, (SLOT_BYTES + 1,)) is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux seals memory")
def test_a_hostile_end_cannot_take_the_memory_away() -> None:
    """It can neither shrink nor grow the file, nor break the seal.

    A page that disappears would crash the worker.
    """
    shared = SharedPixels(1)
    for size in (0, 2 * SLOT_BYTES):
        with pytest.raises(PermissionError):
            os.ftruncate(shared.fd, size)
    with pytest.raises(PermissionError):
        fcntl.fcntl(shared.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
