"""Runs in the server what every decoder process runs first, so that they inherit it warm.

CPython rewrites a function's instructions the first eight times that it runs, and libraries fill
tables of their own. In a forked process each such write copies a page. The slide that is read here
is made here: the server opens no other.
"""

import io
import os
import platform
import sys
from pathlib import Path
from typing import Final

import numpy as np
import tifffile

from broker.errors import OrderError
from worker.slides.sandbox.confinement import seccomp
from worker.slides.slide import Slide

_EDGE_PX: Final = 512
_TILE_PX: Final = 256
_RUNS: Final = 10
_DESCRIPTION: Final = f"Aperio Image Library\n{_EDGE_PX}x{_EDGE_PX} JPEG/RGB|MPP = 0.5"


def warm_up() -> None:
    """Read a small slide and make a filter of system calls, ten times; 0.1 s of a core.

    Does nothing on other systems than Linux, or where the slide cannot be read: decoder processes
    then start cold.
    """
    if sys.platform != "linux":
        return
    descriptor = os.memfd_create("slide", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, small_slide())
        for _ in range(_RUNS):
            _read(Path(f"/proc/self/fd/{descriptor}"))
            if seccomp.is_available():
                seccomp.program(platform.machine(), os.getpid())
    except (OSError, OrderError):
        return
    finally:
        os.close(descriptor)


def small_slide() -> bytes:
    """Return a slide of four tiles of JPEG that is read as one of Aperio."""
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        np.full((_EDGE_PX, _EDGE_PX, 3), 240, np.uint8),
        tile=(_TILE_PX, _TILE_PX),
        photometric="rgb",
        compression="jpeg",
        description=_DESCRIPTION,
        metadata=None,
    )
    return file.getvalue()


def _read(path: Path) -> None:
    """Open the slide, and read all of it and an overview."""
    with Slide.open(path) as slide:
        for downsample in (1.0, 1.7):
            edge_px = int(_EDGE_PX / downsample)
            slide.read(0, 0, edge_px, edge_px, downsample, downsample)
