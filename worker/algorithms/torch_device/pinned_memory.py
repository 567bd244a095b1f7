"""Host memory that a GPU may copy from by itself. Knows CUDA, and no algorithm.

From other memory CUDA copies by way of a buffer of its own, and the thread that asks waits for it. Owns which memory is
pinned (locked into its pages), and that it no longer is when it is unmapped.
"""

import mmap
import weakref
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import Any

import numpy as np
import torch

from worker.geometry.frame import Pixels


class PinnedMemory:
    """What lies under batches, pinned once, until the array that it belongs to is gone. Threads may share it.

    `register(start, size_bytes)` pins and says whether it could, `unregister(start)` ends that; starts are addresses.
    """

    def __init__(
        self, register: Callable[[int, int], bool], unregister: Callable[[int], object]
    ) -> None:
        self._register, self._unregister = register, unregister
        self._lock = Lock()
        self._copyable: dict[
            int, bool
        ] = {}  # by the identity of the array, which is another's only after it is gone
        self._held: dict[int, range] = {}

    def hold(self, batch: Pixels) -> bool:
        """Pin the memory of the array that the batch is a part of, where that is mapped on its own and can be pinned.

        False where a part of it is pinned for another array: CUDA copies from what is pinned or from what is not, and
        nothing that is both.
        """
        array = _whole(batch)
        if (
            not isinstance(_owner(array), mmap.mmap)
            or array.ctypes.data % mmap.PAGESIZE
            or not array.nbytes
        ):
            return True
        with self._lock:
            if id(array) not in self._copyable:
                # at the process' end the memory stays mapped and the device may be gone already
                weakref.finalize(array, self._let_go, id(array)).atexit = False
                self._copyable[id(array)] = self._is_of_one_kind(array)
            return self._copyable[id(array)]

    def _is_of_one_kind(self, array: Pixels) -> bool:
        start, stop = array.ctypes.data, array.ctypes.data + array.nbytes
        if any(start < other.stop and other.start < stop for other in list(self._held.values())):
            return False
        if self._register(start, array.nbytes):
            self._held[id(array)] = range(start, stop)
        return True

    def _let_go(self, array: int) -> None:
        # Takes no lock: it runs wherever the last reference goes, perhaps in a thread that is within `hold`. Only what
        # is no longer pinned is forgotten, so that nobody pins it twice.
        if array in self._held:
            self._unregister(self._held[array].start)
            del self._held[array]
        self._copyable.pop(array, None)


def for_card(card: torch.device) -> PinnedMemory:
    """Memory pinned by CUDA, whose `hold` is to be asked where `card` is the current device."""

    def register(start: int, size_bytes: int) -> bool:
        return _went_well(_runtime().cudaHostRegister(start, size_bytes, 0), card)

    def unregister(start: int) -> None:
        with torch.cuda.device(
            card
        ):  # else a thread that never computed takes memory on the first card
            _went_well(_runtime().cudaHostUnregister(start), card)

    return PinnedMemory(register, unregister)


def _runtime() -> Any:
    return torch.cuda.cudart()  # type: ignore[no-untyped-call]


def _went_well(code: Any, card: torch.device) -> bool:
    if int(code) == 0:
        return True
    with suppress(
        RuntimeError
    ):  # CUDA keeps the error for whoever asks next, which torch does after each kernel
        torch.ones(1, device=card)
    return False


def _owner(array: Pixels) -> object:
    """Whose memory it is: what `numpy.frombuffer` was given, or the array itself."""
    return array.base.obj if isinstance(array.base, memoryview) else array.base


def _whole(batch: Pixels) -> Pixels:
    while isinstance(batch.base, np.ndarray):
        batch = batch.base
    return batch
