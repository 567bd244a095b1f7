"""Pins host memory, that is locks its pages, so that a GPU can copy from it directly.

From other memory CUDA copies through a buffer of its own, and the calling thread waits for it. The
memory must no longer be pinned when it is unmapped.
"""

import mmap
import weakref
from contextlib import suppress
from threading import Lock
from typing import Any, Protocol

import numpy as np
import torch

from worker.geometry.frame import Pixels


class PinFunctions(Protocol):
    """Pins and releases memory by its address."""

    def register(self, start: int, size_bytes: int) -> bool:
        """Pin the memory; return whether that succeeded."""

    def unregister(self, start: int) -> None:
        """Release memory that `register` pinned."""


class PinnedMemory:
    """Pins the memory under batches once, until the array that it belongs to is gone.

    Threads may share it.
    """

    def __init__(self, functions: PinFunctions) -> None:
        self._functions = functions
        self._lock = Lock()
        # By the id of the array, which another array can get only after this one is gone.
        self._can_copy: dict[int, bool] = {}
        self._pinned: dict[int, range] = {}

    def hold(self, batch: Pixels) -> bool:
        """Pin the memory of the array that the batch is a part of; return whether CUDA can copy it.

        Only memory that is mapped on its own is pinned, other memory is left as it is. The answer
        is False where a part of the memory is pinned for another array: CUDA copies from memory
        that is wholly pinned or not at all.
        """
        array = _whole(batch)
        if not _is_mapped_alone(array):
            return True
        with self._lock:
            if id(array) not in self._can_copy:
                # at the end of the process the device may be gone before the memory is unmapped
                weakref.finalize(array, self._release, id(array)).atexit = False
                self._can_copy[id(array)] = self._pin(array)
            return self._can_copy[id(array)]

    def _pin(self, array: Pixels) -> bool:
        """Pin the array where that is possible; return False where it overlaps a pinned one."""
        start = array.ctypes.data
        stop = start + array.nbytes
        for pinned in list(self._pinned.values()):
            if start < pinned.stop and pinned.start < stop:
                return False
        if self._functions.register(start, array.nbytes):
            self._pinned[id(array)] = range(start, stop)
        return True

    def _release(self, array_id: int) -> None:
        # Takes no lock: it runs wherever the last reference is dropped, perhaps in a thread that
        # is within `hold`. Memory is forgotten only once it is unpinned, so that nobody pins it
        # twice.
        if array_id in self._pinned:
            self._functions.unregister(self._pinned[array_id].start)
            del self._pinned[array_id]
        self._can_copy.pop(array_id, None)


class CudaPinFunctions:
    """Pins memory with CUDA for one card."""

    def __init__(self, card: torch.device) -> None:
        self._card = card

    def register(self, start: int, size_bytes: int) -> bool:
        """Pin the memory; must be called where the card is the current device."""
        return self._succeeded(_runtime().cudaHostRegister(start, size_bytes, 0))

    def unregister(self, start: int) -> None:
        """Release memory that `register` pinned; may be called in any thread."""
        # without this a thread that never computed would take memory on the first card
        with torch.cuda.device(self._card):
            self._succeeded(_runtime().cudaHostUnregister(start))

    def _succeeded(self, code: Any) -> bool:
        if int(code) == 0:
            return True
        # CUDA keeps the error for the next call that asks, as torch does after each kernel
        with suppress(RuntimeError):
            torch.ones(1, device=self._card)
        return False


def pinned_memory(card: torch.device) -> PinnedMemory:
    """Return memory pinned by CUDA; `hold` must be called where `card` is the current device."""
    return PinnedMemory(CudaPinFunctions(card))


def _runtime() -> Any:
    return torch.cuda.cudart()  # type: ignore[no-untyped-call]


def _is_mapped_alone(array: Pixels) -> bool:
    """Return whether the array is a whole mapping of its own, from the start of a page on."""
    if not isinstance(_owner(array), mmap.mmap):
        return False
    return array.nbytes > 0 and array.ctypes.data % mmap.PAGESIZE == 0


def _owner(array: Pixels) -> object:
    """Return the object whose memory it is: what `numpy.frombuffer` got, or the array's base."""
    if isinstance(array.base, memoryview):
        return array.base.obj
    return array.base


def _whole(batch: Pixels) -> Pixels:
    """Return the array that the batch is a view of."""
    while isinstance(batch.base, np.ndarray):
        batch = batch.base
    return batch
