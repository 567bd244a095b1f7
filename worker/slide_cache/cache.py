"""The slides on this machine's disk: one copy of each content, pinned while in use.

The cache does not know where slides come from or what they show. Its folder:

    AA/SHA256/slide.tif   a slide; its users hold a shared lock on it, its mtime is its last use
    AA/SHA256/slide       for a slide of several files: a link to the main one, which is locked
                          and dated in the same way
    AA/SHA256/for-WORK    this work waits for the slide, which is therefore not evicted
    parts/NAME            a slide that is being written, locked by its writer; without a lock its
                          writer is dead, or the slide is being removed
    sources/KEY           the last answer of a source; locked by the one who requests this source

Locks are `flock`: the kernel drops them when a process dies. Moves, pins and evictions happen
under one more lock, on the file `lock`, and take milliseconds. So a slide that was seen to be
unpinned stays unpinned until it is removed.
"""

import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from worker.disk import sync_folder, try_lock
from worker.progress import Progress
from worker.slide_cache.eviction import CacheEntry, SlideCacheEviction
from worker.slide_cache.file_set import FileSet
from worker.slide_cache.local_slide import LocalSlide
from worker.slide_cache.partial_file import CachedSource, PartialFile

FOLDER = "shelf"
"""The name of the cache's folder in the data folder."""
_POLL_S = 0.1
DIGEST = re.compile(r"[0-9a-f]{64}")
"""What identifies the content of a slide, and names its folder."""


class SlideCache:
    """A folder of slides that several threads and processes share."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._parts = folder / "parts"
        self._eviction = SlideCacheEviction(folder, max_bytes)
        for name in ("parts", "sources"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    @property
    def disk_bytes(self) -> int:
        """Return the most that the cache could hold if nothing else were on this disk."""
        return self._eviction.disk_bytes

    @contextmanager
    def source(self, key: str, progress: Progress) -> Iterator[CachedSource]:
        """Lock the source `key` for this caller alone, and give its record.

        While another holds the lock, wait and report the step "waiting" to `progress`, which
        may raise `StopWork`.
        """
        path = self._folder / "sources" / key
        while True:
            with _open_or_create(path) as file:
                _wait_for_lock(file, progress)
                if os.fstat(file.fileno()).st_nlink == 0:
                    continue  # it was removed as too old between opening and locking
                os.utime(file.fileno())
                yield CachedSource(file)
                return

    @contextmanager
    def partial_file(self) -> Iterator[PartialFile]:
        """Create a file to write a slide to, locked from the start.

        It is removed at the end of the context unless `put` moved it into the cache.
        """
        with self._eviction.lock():
            number, name = tempfile.mkstemp(dir=self._parts)
            file = os.fdopen(number, "r+b", buffering=0)
            fcntl.flock(file, fcntl.LOCK_SH)
        try:
            yield PartialFile(file, Path(name), self._eviction)
        finally:
            with self._eviction.lock(), file:
                Path(name).unlink(missing_ok=True)

    @contextmanager
    def file_set(self) -> Iterator[FileSet]:
        """Create a folder to write a slide of several files to, locked from the start.

        It is removed at the end of the context unless `put_file_set` moved it into the cache.
        """
        with self._eviction.lock():
            file_set = FileSet(Path(tempfile.mkdtemp(dir=self._parts)), self._eviction)
        try:
            yield file_set
        finally:
            with self._eviction.lock():
                file_set.close()
                shutil.rmtree(file_set.root, ignore_errors=True)

    @contextmanager
    def put(self, partial_file: PartialFile, suffix: str) -> Iterator[LocalSlide]:
        """Move a complete slide into the cache, unless the cache has a slide of this content.

        Pin the slide while the context lasts.
        """
        partial_file.flush()
        with self._eviction.lock():
            digest = partial_file.digest
            entry = self._find(digest)
            if entry is None:
                folder = self._slide_folder(digest)
                folder.mkdir(parents=True, exist_ok=True)
                partial_file.path.rename(folder / f"slide{suffix}")
                sync_folder(folder)
                entry = CacheEntry(folder / f"slide{suffix}")
            path, file = entry.pin()
        with file:
            yield LocalSlide(path, digest, partial_file.bytes)

    @contextmanager
    def put_link(self, link: Path, suffix: str, digest: str) -> Iterator[LocalSlide]:
        """Move a link, made by `FileSet.link`, into the cache, unless the cache has its content.

        `digest`: the SHA-256 of the file behind the link, which nobody changes. The slide is
        pinned while the context lasts. Raise `SlideCacheFullError`.
        """
        with self._eviction.lock():
            entry = self._find(digest)
            if entry is None:
                self._eviction.make_room(link.stat().st_size, is_link=True)
                folder = self._slide_folder(digest)
                folder.mkdir(parents=True, exist_ok=True)
                link.rename(folder / f"slide{suffix}")
                sync_folder(folder)
                entry = CacheEntry(folder / f"slide{suffix}")
            path, file = entry.pin()
            size_bytes = entry.size_bytes
        with file:
            yield LocalSlide(path, digest, size_bytes)

    @contextmanager
    def put_file_set(self, file_set: FileSet, main: str, digest: str) -> Iterator[LocalSlide]:
        """Move a complete slide of several files into the cache, unless the cache has it.

        `main`: the file to open, relative to `file_set.folder`.
        `digest`: 64 hex characters that identify the content.
        The slide is pinned while the context lasts. Raise `SlideCacheFullError` where
        its files take more than was reserved and there is no room for the rest.
        """
        file_set.flush(main)
        with self._eviction.lock():
            entry = self._find(digest)
            if entry is None:
                folder = self._slide_folder(digest)
                if folder.exists():
                    self._eviction.remove(folder)
                folder.parent.mkdir(exist_ok=True)
                file_set.root.rename(folder)
                sync_folder(folder.parent)
                entry = CacheEntry(folder / "slide")
            path, file = entry.pin()
        with file:
            yield LocalSlide(path, digest, entry.size_bytes)

    def contains(self, digest: str) -> bool:
        """Return whether the slide is in the cache now. Only a pin keeps it there."""
        return self._find(digest) is not None

    @contextmanager
    def pinned(self, digest: str) -> Iterator[LocalSlide | None]:
        """Pin the slide while the context lasts. Give None when it is not in the cache."""
        with self._eviction.lock():
            entry = self._find(digest)
            if entry is not None:
                path, file = entry.pin()
        if entry is None:
            yield None
            return
        with file:
            yield LocalSlide(path, digest, entry.size_bytes)

    def add_hold(self, digest: str, work: str) -> None:
        """Exclude the slide from eviction until `remove_hold`, because `work` will read it later.

        Do nothing when the slide is not in the cache.
        """
        with self._eviction.lock():
            if self.contains(digest):
                self._hold_file(digest, work).touch()

    def remove_hold(self, digest: str, work: str) -> None:
        """Allow eviction again as far as `work` is concerned."""
        if DIGEST.fullmatch(digest):
            self._hold_file(digest, work).unlink(missing_ok=True)

    def holds(self) -> list[tuple[str, str]]:
        """Return the digest and the work of every hold that was not removed."""
        return [
            (path.parent.name, path.name.removeprefix("for-"))
            for path in self._folder.glob("??/*/for-*")
        ]

    def remove_unused(self, unused_s: float) -> None:
        """Remove the slides that nobody used for `unused_s` and no work waits for."""
        with self._eviction.lock():
            self._eviction.remove_unused(unused_s)

    def _find(self, digest: str) -> CacheEntry | None:
        if not DIGEST.fullmatch(digest):
            return None
        return CacheEntry.find(self._slide_folder(digest))

    def _slide_folder(self, digest: str) -> Path:
        return self._folder / digest[:2] / digest

    def _hold_file(self, digest: str, work: str) -> Path:
        return self._slide_folder(digest) / f"for-{work}"


def _open_or_create(path: Path) -> FileIO:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0)


def _wait_for_lock(file: FileIO, progress: Progress) -> None:
    polls = 0
    while not try_lock(file):
        polls += 1
        progress.report("waiting", polls, 0)
        time.sleep(_POLL_S)
