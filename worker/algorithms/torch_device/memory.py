"""How many tiles fit on a device, and what to do when its memory is full all the same. Knows torch, no algorithm."""

import ctypes
import operator
import re
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import torch

from broker.errors import TemporaryError
from worker.algorithms.torch_device.device import TURNS, Device
from worker.geometry.frame import Pixels
from worker.process.cgroup_limits import granted_cores, granted_memory_bytes

_Found = TypeVar("_Found")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h
_KEPT_BYTES: Final = 512 * 2**20  # by each thread, of what lies at the end of its heap
_LARGEST_KEPT_BYTES: Final = 32 * 2**20  # the most that glibc takes
_OURS: Final = 0.7  # of the memory that is free, for all batches that are there at the same time
_ON_THE_CPU: Final = "DefaultCPUAllocator"  # whose exception is not of a kind of its own
_MEMORY, _STATUS, _CLEAR = (
    Path("/proc/meminfo"),
    Path("/proc/self/status"),
    Path("/proc/self/clear_refs"),
)
_PEAK: Final = re.compile(r"VmHWM:\s+(\d+) kB")
_AVAILABLE: Final = re.compile(r"MemAvailable:\s+(\d+) kB")


def sparing(
    run: Callable[[Pixels], _Found],
    batch: Pixels,
    join: Callable[[Any, Any], _Found] = operator.add,
) -> _Found:
    """`run` on the batch (N, …), or on halves of it, `join`ed, where the device's memory does not suffice.

    Raises `TemporaryError("out_of_memory")` when even one tile is too much: another time, or another worker, may do.
    """
    try:
        return run(batch)
    except (RuntimeError, MemoryError) as error:
        if not is_short_of_memory(error):
            raise
        if len(batch) <= 1:
            raise TemporaryError(
                "out_of_memory", f"one tile is too much for the device: {error}"[:300]
            ) from None
    release()
    half = len(batch) // 2
    return join(sparing(run, batch[:half], join), sparing(run, batch[half:], join))


def is_short_of_memory(error: Exception) -> bool:
    """Whether torch means by it that there is no memory."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or _ON_THE_CPU in str(error)


def fitting_batch(run: Callable[[int], object], device: Device, most: int) -> int:
    """The largest power of two, at most `most`, of which as many batches fit as are there at the same time.

    `run` is tried with ever more tiles. On a GPU all of its memory counts, so that the same card gives the same number.
    """
    tiles = 1
    while tiles <= most:
        try:
            taken_bytes = _peak_bytes(lambda: run(tiles), device)  # noqa: B023 - called at once
        except (RuntimeError, MemoryError) as error:
            if tiles == 1 or not is_short_of_memory(error):
                raise
            release()
            break
        if taken_bytes * _at_once(device) > _OURS * _room_bytes(device):
            break
        tiles *= 2
    return max(1, tiles // 2)


def release() -> None:
    """Give memory that is cached and not used back to the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@cache
def keep_freed() -> None:
    """Have glibc keep what one batch gives back for the next: else the kernel zeroes it anew, page by page.

    MobileNetV3 took 4.2 s for 2,000 tiles before and 3.6 s after. And once for each core: every scan has threads of its
    own, to which glibc would give one heap after another, eight for each core, that all keep what was freed in them.
    Other C libraries are left as they are.
    """
    with suppress(OSError, AttributeError):
        tune = ctypes.CDLL(None).mallopt
        tune(_M_ARENA_MAX, granted_cores())
        tune(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        tune(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES)


def _at_once(device: Device) -> int:
    return TURNS if device.is_gpu else granted_cores()


def _room_bytes(device: Device) -> int:
    if device.is_gpu:
        total: int = torch.cuda.get_device_properties(device.torch).total_memory
        return total - torch.cuda.memory_allocated(device.torch)
    said = _AVAILABLE.search(_MEMORY.read_text()) if _MEMORY.exists() else None
    granted_bytes = granted_memory_bytes()
    return min(int(said[1]) * 1024, granted_bytes) if said else granted_bytes


def _peak_bytes(run: Callable[[], object], device: Device) -> int:
    """By how much the memory in use grows at most meanwhile; 0 where nobody can say."""
    if device.is_gpu:
        before: int = torch.cuda.memory_allocated(device.torch)
        torch.cuda.reset_peak_memory_stats(device.torch)
        run()
        peak: int = torch.cuda.max_memory_allocated(device.torch)
        return peak - before
    held = _resident_bytes()
    run()
    return max(0, _resident_bytes() - held)


def _resident_bytes() -> int:
    """The most that this process had in memory since the last call."""
    if not _STATUS.exists():
        return 0
    said = _PEAK.search(_STATUS.read_text())
    try:
        _CLEAR.write_text("5")  # starts the peak anew: proc(5)
    except OSError:
        return 0
    return int(said[1]) * 1024 if said else 0
