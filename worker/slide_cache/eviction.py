"""The byte budget of the slide cache: how much it holds, and which slides are evicted for more.

It does not know how slides are fetched or under which source they are looked up.
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
from worker.disk import in_use
from worker.slide_cache.errors import SlideCacheFullError
from worker.slide_cache.file_set import RESERVATION, disk_bytes

_SOURCE_LIFE_S = 30 * 86400


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """A slide in the cache. `path`: its only file, or the link to the main one of several."""

    path: Path

    @classmethod
    def find(cls, folder: Path) -> Self | None:
        """Return the slide in `folder`, or None where there is none."""
        path = next(folder.glob("slide*"), None)
        if path is None:
            return None
        return cls(path)

    @property
    def size_bytes(self) -> int:
        """Return the length of its only file, or the disk space that its files take."""
        if self.path.is_symlink():
            return self.path.with_name(RESERVATION).stat().st_size
        return self.path.stat().st_size

    @property
    def main_file(self) -> Path:
        """Return the path of the file to open."""
        if self.path.is_symlink():
            return self.path.parent / self.path.readlink()
        return self.path

    @property
    def freed_bytes(self) -> int:
        """Return how much of the disk its removal frees; a hard link to a file frees nothing."""
        if not self.path.is_symlink() and self.path.stat().st_nlink > 1:
            return 0
        return self.size_bytes

    def used_ns(self) -> int:
        """Return when the slide was used last (Unix ns)."""
        return self.path.stat().st_mtime_ns

    def is_evictable(self) -> bool:
        """Return whether nobody uses the slide and no work waits for it."""
        return not any(self.path.parent.glob("for-*")) and not in_use(self.path)

    def pin(self) -> tuple[Path, BinaryIO]:
        """Lock the slide against eviction and record the use.

        Return the path of the file to open, and the open file whose lock pins the slide.
        """
        path, file = self.lock()
        os.utime(path)
        return path, file

    def lock(self) -> tuple[Path, BinaryIO]:
        """Do as `pin`, and do not record the use."""
        path = self.main_file
        file = path.open("rb")
        fcntl.flock(file, fcntl.LOCK_SH)
        return path, file


class SlideCacheEviction:
    """The disk space of the cache's folder.

    `remove` and `remove_unused` must be called under `lock`. `grow` takes the lock itself.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._parts = folder / "parts"
        self._max_bytes = max_bytes

    @property
    def disk_bytes(self) -> int:
        """Return the most that the cache could hold if nothing else were on this disk."""
        disk = shutil.disk_usage(self._folder)
        return disk.total - reserved_bytes(disk.total)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Exclude moves, pins and evictions by other threads and processes."""
        with (self._folder / "lock").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def grow(self, file: BinaryIO, size_bytes: int) -> None:
        """Set the length of `file`, which reserves space for a partial slide, to `size_bytes`.

        Slides are evicted until it fits, the least recently used one first.
        Raise `SlideCacheFullError` and evict none where that would not be enough.
        """
        with self.lock():
            self._remove_abandoned()
            self.make_room(size_bytes - os.fstat(file.fileno()).st_size)
            file.truncate(size_bytes)

    def make_room(self, more_bytes: int, *, is_link: bool = False) -> None:
        """Evict slides until `more_bytes` fit, the least recently used one first.

        `is_link`: they are on the disk already. Call it under `lock`. Raise `SlideCacheFullError`
        and evict none where that would not be enough.
        """
        for entry in self._select_victims(more_bytes, is_link=is_link):
            self.remove(entry.path.parent)

    def remove_unused(self, unused_s: float) -> None:
        """Remove the slides that nobody used for `unused_s` and no work waits for."""
        for entry in self._entries():
            idle_s = time.time() - entry.used_ns() / 1e9
            if idle_s > unused_s and entry.is_evictable():
                self.remove(entry.path.parent)

    def remove(self, folder: Path) -> None:
        """Remove the slide in `folder`.

        The folder is moved to `parts` first: a process that is killed while it deletes the files
        leaves an abandoned part there and no incomplete slide in the cache.
        """
        removed = tempfile.mkdtemp(dir=self._parts)
        folder.rename(removed)
        shutil.rmtree(removed)

    def _entries(self) -> list[CacheEntry]:
        return [CacheEntry(path) for path in self._folder.glob("??/*/slide*")]

    def _select_victims(self, more_bytes: int, *, is_link: bool) -> list[CacheEntry]:
        """Return the slides to evict to make room for `more_bytes` more.

        Raise `SlideCacheFullError` when all slides that may be evicted would not be enough.
        """
        entries = self._entries()
        parts = list(self._parts.iterdir())
        promised_bytes = sum(entry.size_bytes for entry in entries)
        promised_bytes += sum(_reserved_bytes(part) for part in parts)
        over_budget_bytes = promised_bytes + more_bytes - self._max_bytes
        over_disk_bytes = 0
        if not is_link:
            over_disk_bytes = more_bytes - self._free_bytes(parts)
        victims = []
        for entry in sorted(entries, key=CacheEntry.used_ns):
            if max(over_budget_bytes, over_disk_bytes) <= 0:
                break
            helps = over_budget_bytes > 0 or entry.freed_bytes > 0
            if helps and entry.is_evictable():
                victims.append(entry)
                over_budget_bytes -= entry.size_bytes
                over_disk_bytes -= entry.freed_bytes
        missing_bytes = max(over_budget_bytes, over_disk_bytes)
        if missing_bytes > 0:
            detail = (
                f"no room in the slide cache for {more_bytes} bytes: {missing_bytes} too many, "
                "and all other slides are in use or needed by work that waits"
            )
            raise SlideCacheFullError(detail, hint="raise worker.slides.max_bytes or free the disk")
        return victims

    def _free_bytes(self, parts: list[Path]) -> int:
        disk = shutil.disk_usage(self._folder)
        unwritten = sum(max(0, _reserved_bytes(part) - _written_bytes(part)) for part in parts)
        return disk.free - unwritten - reserved_bytes(disk.total)

    def _remove_abandoned(self) -> None:
        """Remove parts whose writer died, and records of sources unused for a month."""
        for path in self._parts.iterdir():
            if path.is_dir() and not _is_being_written(path):
                shutil.rmtree(path)
            elif path.is_file() and not in_use(path):
                path.unlink()
        for path in (self._folder / "sources").iterdir():
            if time.time() - path.stat().st_mtime > _SOURCE_LIFE_S and not in_use(path):
                path.unlink()


def _is_being_written(file_set: Path) -> bool:
    """Return whether the writer of a folder in `parts` is alive.

    A folder without `room` is a slide whose removal was interrupted.
    """
    return (file_set / RESERVATION).exists() and in_use(file_set / RESERVATION)


def _reserved_bytes(part: Path) -> int:
    if part.is_dir():
        part = part / RESERVATION
    return part.stat().st_size


def _written_bytes(part: Path) -> int:
    if part.is_dir():
        return disk_bytes(part)
    return 512 * part.stat().st_blocks
