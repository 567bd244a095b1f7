"""Makes glibc keep freed memory, for who takes the same amounts again and again."""

import ctypes
from contextlib import suppress
from functools import cache
from typing import Final

from worker.process.cgroup_limits import granted_cores

# Options of mallopt, from malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
# What each thread keeps of the memory at the end of its heap, unless told otherwise.
_KEPT_BYTES: Final = 512 * 2**20
# Larger blocks go back to the kernel at once; this is the most that glibc accepts.
_LARGEST_KEPT_BYTES: Final = 32 * 2**20


@cache
def keep_freed(kept_bytes: int = _KEPT_BYTES) -> None:
    """Make glibc keep the memory that one batch frees for the next one, so much of each heap.

    Else the kernel zeroes it anew, page by page: MobileNetV3 took 4.2 s for 2,000 tiles before and
    3.6 s after. There is one heap for each core: every scan has threads of its own, for which glibc
    would open up to eight heaps per core, and each would keep what was freed in it. Other C
    libraries are left as they are.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, granted_cores())
        mallopt(_M_TRIM_THRESHOLD, kept_bytes)
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES)
