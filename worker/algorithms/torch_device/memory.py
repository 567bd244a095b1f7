"""Finds how many tiles fit into a device's memory, and copes when it is full all the same."""

import operator
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import torch

from broker.errors import TemporaryError
from worker.algorithms.torch_device.device import TURNS, Device
from worker.geometry.frame import Pixels
from worker.process.cgroup_limits import granted_cores, granted_memory_bytes

_Answer = TypeVar("_Answer")
# The share of the free memory that all batches of the same time may take.
_BATCHES_SHARE: Final = 0.7
# How torch names the CPU's memory in an error, which has no exception class of its own.
_CPU_ALLOCATOR: Final = "DefaultCPUAllocator"
_MEMINFO: Final = Path("/proc/meminfo")
_STATUS: Final = Path("/proc/self/status")
_CLEAR_REFS: Final = Path("/proc/self/clear_refs")
_PEAK: Final = re.compile(r"VmHWM:\s+(\d+) kB")
_AVAILABLE: Final = re.compile(r"MemAvailable:\s+(\d+) kB")


def sparing(
    run: Callable[[Pixels], _Answer],
    batch: Pixels,
    join: Callable[[Any, Any], _Answer] = operator.add,
) -> _Answer:
    """Return `run` of the batch (N, …); where memory is short, of its halves, joined by `join`.

    Raises TemporaryError, `out_of_memory`, where one tile is too much: another time, or another
    worker, may succeed.
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
    """Return whether torch's exception means that there is no memory left."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or _CPU_ALLOCATOR in str(error)


def fitting_batch(run: Callable[[int], object], device: Device, most: int) -> int:
    """Return the largest power of two of tiles, at most `most`, whose batches fit into memory.

    As many batches must fit as there are at the same time. `run` is called with more and more
    tiles. On a GPU all of its memory counts, so that the same card gives the same number.
    """
    tiles = 1
    while tiles <= most:
        try:
            taken_bytes = _peak_bytes(run, tiles, device)
        except (RuntimeError, MemoryError) as error:
            if tiles == 1 or not is_short_of_memory(error):
                raise
            release()
            break
        if taken_bytes * _batches_at_once(device) > _BATCHES_SHARE * free_bytes(device):
            break
        tiles *= 2
    return max(1, tiles // 2)


def release() -> None:
    """Give memory that is cached and not used back to the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _batches_at_once(device: Device) -> int:
    if device.is_gpu:
        return TURNS
    return granted_cores()


def free_bytes(device: Device) -> int:
    """Return how much memory is free; on a GPU also what other programs have of it."""
    if device.is_gpu:
        total: int = torch.cuda.get_device_properties(device.torch).total_memory
        return total - torch.cuda.memory_allocated(device.torch)
    granted_bytes = granted_memory_bytes()
    if not _MEMINFO.exists():
        return granted_bytes
    available = _AVAILABLE.search(_MEMINFO.read_text())
    if available is None:
        return granted_bytes
    return min(int(available[1]) * 1024, granted_bytes)


def _peak_bytes(run: Callable[[int], object], tiles: int, device: Device) -> int:
    """Return by how much the memory in use grows at most during `run`; 0 where that is unknown."""
    if device.is_gpu:
        before: int = torch.cuda.memory_allocated(device.torch)
        torch.cuda.reset_peak_memory_stats(device.torch)
        run(tiles)
        peak: int = torch.cuda.max_memory_allocated(device.torch)
        return peak - before
    resident_bytes = _peak_resident_bytes()
    run(tiles)
    return max(0, _peak_resident_bytes() - resident_bytes)


def _peak_resident_bytes() -> int:
    """Return the most memory that this process had since the last call; 0 where it is unknown."""
    if not _STATUS.exists():
        return 0
    peak = _PEAK.search(_STATUS.read_text())
    try:
        _CLEAR_REFS.write_text("5")  # resets the peak: proc(5)
    except OSError:
        return 0
    if peak is None:
        return 0
    return int(peak[1]) * 1024
