"""The room on the shelf: what takes how much of it, and what leaves when more is needed.

Owns the byte budget and eviction. Must not know how slides come or by what name they are asked for.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from broker.disk_space import reserved_bytes
from broker.errors import TemporaryError
from worker.disk import in_use
from worker.slide_cache.file_set import ROOM, disk_bytes

_SOURCE_LIFE_S = 30 * 86400


@dataclass(frozen=True, slots=True)
class Entry:
    """A slide that stands on the shelf. `slide`: its only file, or the link to the main one of several."""

    slide: Path

    @classmethod
    def at(cls, place: Path) -> Self | None:
        """The slide in the folder `place`, if one stands there."""
        found = next(place.glob("slide*"), None)
        return cls(found) if found else None

    @property
    def bytes(self) -> int:
        """The length of its only file, or the disk that its files take."""
        return (
            (self.slide.with_name(ROOM) if self.slide.is_symlink() else self.slide).stat().st_size
        )

    def used_ns(self) -> int:
        """When it was last used (Unix ns)."""
        return self.slide.stat().st_mtime_ns

    def may_go(self) -> bool:
        """Whether nobody uses it and no work waits for it."""
        return not any(self.slide.parent.glob("for-*")) and not in_use(self.slide)

    def pin(self) -> tuple[Path, BinaryIO]:
        """The file to open, and the open file that holds the slide; this counts as a use."""
        path = self.slide.parent / self.slide.readlink() if self.slide.is_symlink() else self.slide
        file = path.open("rb")
        fcntl.flock(file, fcntl.LOCK_SH)
        os.utime(path)
        return path, file


class SlideCacheEviction:
    """The shelf's folder as bytes. All methods but `lock` and `grow` are called under the lock."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._parts, self._max_bytes = folder, folder / "parts", max_bytes

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Nobody else moves, pins or evicts meanwhile, in any process."""
        with (self._folder / "lock").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def grow(self, file: BinaryIO, size_bytes: int) -> None:
        """Make what holds the room `size_bytes` long, evicting what was used least recently until that fits."""
        with self.lock():
            self._sweep()
            more_bytes = size_bytes - os.fstat(file.fileno()).st_size
            for entry in self._victims(more_bytes):
                self.clear(entry.slide.parent)
            file.truncate(size_bytes)

    def discard(self, unused_s: float) -> None:
        """Remove slides that nobody used for so long and no work waits for."""
        for entry in self._entries():
            if time.time() - entry.used_ns() / 1e9 > unused_s and entry.may_go():
                self.clear(entry.slide.parent)

    def clear(self, place: Path) -> None:
        """Remove a slide whole: moved away first, so that one killed half-way leaves a part, and no half slide."""
        away = tempfile.mkdtemp(dir=self._parts)
        place.rename(away)
        shutil.rmtree(away)

    def _entries(self) -> list[Entry]:
        return [Entry(path) for path in self._folder.glob("??/*/slide*")]

    def _victims(self, more_bytes: int) -> list[Entry]:
        """The slides to evict for `more_bytes` more. Raises `TemporaryError` when all that may go would not do."""
        entries, parts = self._entries(), list(self._parts.iterdir())
        promised = sum(entry.bytes for entry in entries) + sum(_promised(part) for part in parts)
        missing = max(promised + more_bytes - self._max_bytes, more_bytes - self._free_bytes(parts))
        victims = []
        for entry in sorted(entries, key=Entry.used_ns):
            if missing > 0 and entry.may_go():
                victims.append(entry)
                missing -= entry.bytes
        if missing > 0:
            detail = f"no room on the shelf for {more_bytes} bytes: {missing} too many, and the rest is used or waited for"
            raise TemporaryError(
                "shelf_full", detail, hint="raise worker.slides.max_bytes or free the disk"
            )
        return victims

    @property
    def disk_bytes(self) -> int:
        """The most that the disk could ever hold, were there nothing else on it."""
        disk = shutil.disk_usage(self._folder)
        return disk.total - reserved_bytes(disk.total)

    def _free_bytes(self, parts: list[Path]) -> int:
        disk = shutil.disk_usage(self._folder)
        unwritten = sum(max(0, _promised(part) - _written(part)) for part in parts)
        return disk.free - unwritten - reserved_bytes(disk.total)

    def _sweep(self) -> None:
        """Remove parts whose writer died, and sources that nobody asked for a month."""
        for path in self._parts.iterdir():
            if path.is_dir() and not _held(path):
                shutil.rmtree(path)
            elif path.is_file() and not in_use(path):
                path.unlink()
        for path in (self._folder / "sources").iterdir():
            if time.time() - path.stat().st_mtime > _SOURCE_LIFE_S and not in_use(path):
                path.unlink()


def _held(bundle: Path) -> bool:
    """Whether its writer lives. One without `room` is a slide that was on its way out."""
    return (bundle / ROOM).exists() and in_use(bundle / ROOM)


def _promised(part: Path) -> int:
    return (part / ROOM if part.is_dir() else part).stat().st_size


def _written(part: Path) -> int:
    return disk_bytes(part) if part.is_dir() else 512 * part.stat().st_blocks
