"""Memory that the worker and a process that decodes for it both see, so that pixels need not travel between them.

Owns its size and its seal: the other process may write anything there, but neither shrink nor grow it, for a page that
is gone would end whoever looks at it. (Only Linux can seal; elsewhere a hostile decoder may end the worker.)
"""

import fcntl
import math
import mmap
import os
import sys
import tempfile
from contextlib import suppress
from typing import Final

import numpy as np

from worker.geometry.frame import Pixels

SLOT_BYTES: Final = 32 * 2**20
"""For each thread that reads. Only what is used takes memory."""


class SharedPixels:
    """So many slots, in a file without a name whose number another process can be given."""

    def __init__(self, slots: int) -> None:
        size_bytes = slots * SLOT_BYTES
        self.number = _sealed(size_bytes)
        self._map = mmap.mmap(self.number, size_bytes)
        self._start = np.frombuffer(self._map, np.uint8, 1).ctypes.data

    def slot(self, number: int, shape: tuple[int, ...]) -> Pixels | None:
        """Room for pixels of this shape; None where a slot is too small for them."""
        size_bytes = math.prod(shape)
        if size_bytes > SLOT_BYTES:
            return None
        return np.frombuffer(self._map, np.uint8, size_bytes, number * SLOT_BYTES).reshape(shape)

    def place(self, pixels: Pixels) -> int | None:
        """Where these pixels begin in the shared memory; None where they lie elsewhere."""
        start = pixels.ctypes.data - self._start
        return (
            start
            if 0 <= start <= len(self._map) - pixels.nbytes and pixels.flags.c_contiguous
            else None
        )

    def given(self) -> None:
        """The other process has the file's number."""
        os.close(self.number)

    def close(self) -> None:
        """Let go of the memory, which stays until nobody looks at it."""
        with suppress(BufferError):
            self._map.close()


def opened(number: int, slots: int) -> Pixels:
    """All slots as the other process sees them, byte by byte."""
    return np.frombuffer(mmap.mmap(number, slots * SLOT_BYTES), np.uint8)


def _sealed(size_bytes: int) -> int:
    if sys.platform != "linux":
        with tempfile.TemporaryFile() as file:
            file.truncate(size_bytes)
            return os.dup(file.fileno())
    number = os.memfd_create("pixels", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(number, size_bytes)
    fcntl.fcntl(
        number, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    )
    return number
