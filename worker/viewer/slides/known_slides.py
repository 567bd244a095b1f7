"""Slides that were found a moment ago: not every tile of a DICOM series lists its folder."""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from worker.slide_cache.local_slide import LocalSlide

KEEP_S: Final = 2.0
"""A file beside the main one that is replaced is seen after so long."""
_MOST: Final = 256


@dataclass(frozen=True, slots=True)
class FileState:
    """What tells that a main file is the same one: device, inode, size and time of change."""

    device: int
    inode: int
    size_bytes: int
    changed_ns: int

    @classmethod
    def of(cls, path: str) -> Self | None:
        """Return the state of the file at `path`, links followed; None where there is none."""
        try:
            status = Path(path).stat()
        except (OSError, ValueError):
            return None
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class _Known:
    state: FileState
    slide: LocalSlide
    until_s: float


class KnownSlides:
    """The slides by the path that they were asked for by. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slides: OrderedDict[str, _Known] = OrderedDict()

    def get(self, path: str) -> LocalSlide | None:
        """Return the slide that was found within `KEEP_S`, where its main file is the same."""
        with self._lock:
            known = self._slides.get(path)
        if known is None or time.monotonic() > known.until_s:
            return None
        if FileState.of(path) != known.state:
            return None
        return known.slide

    def put(self, path: str, state: FileState, slide: LocalSlide) -> None:
        """Keep a slide that was found. `state`: of its main file before it was looked for."""
        with self._lock:
            self._slides[path] = _Known(state, slide, time.monotonic() + KEEP_S)
            self._slides.move_to_end(path)
            while len(self._slides) > _MOST:
                self._slides.popitem(last=False)
