"""Memory that the worker and a decoder process share, so that pixels need not be copied.

The decoder process may write anything into it but cannot change its size: a page that disappears
would crash the worker when it reads there. (Only Linux can seal a file's size. On other systems a
hostile decoder could crash the worker.)
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
"""The size of one reading thread's slot. Physical memory is only taken for pages that are used."""


class SharedPixels:
    """One slot of memory for each reading thread, in an unnamed file.

    `fd` is the file's descriptor, for the decoder process and for others that read the pixels.
    """

    def __init__(self, slots: int) -> None:
        size_bytes = slots * SLOT_BYTES
        self.size_bytes = size_bytes
        self.fd = _open_sealed_file(size_bytes)
        self._map = mmap.mmap(self.fd, size_bytes)
        self._address = np.frombuffer(self._map, np.uint8, 1).ctypes.data

    def slot(self, number: int, shape: tuple[int, ...]) -> Pixels | None:
        """Return a slot's memory as an array of this shape, None if a slot is too small for it."""
        size_bytes = math.prod(shape)
        if size_bytes > SLOT_BYTES:
            return None
        return np.frombuffer(self._map, np.uint8, size_bytes, number * SLOT_BYTES).reshape(shape)

    def offset_of(self, pixels: Pixels) -> int | None:
        """Return the offset of these pixels in bytes, None if they are not in this memory."""
        offset = pixels.ctypes.data - self._address
        if not 0 <= offset <= len(self._map) - pixels.nbytes:
            return None
        if not pixels.flags.c_contiguous:
            return None
        return offset

    def close(self) -> None:
        """Close the descriptor, and unmap the memory unless an array still refers to it."""
        os.close(self.fd)
        with suppress(BufferError):
            self._map.close()


def map_shared_pixels(fd: int, slots: int) -> Pixels:
    """Return all slots, byte by byte, as the decoder process sees them."""
    return np.frombuffer(mmap.mmap(fd, slots * SLOT_BYTES), np.uint8)


def _open_sealed_file(size_bytes: int) -> int:
    if sys.platform != "linux":
        with tempfile.TemporaryFile() as file:
            file.truncate(size_bytes)
            return os.dup(file.fileno())
    fd = os.memfd_create("pixels", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size_bytes)
    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd
