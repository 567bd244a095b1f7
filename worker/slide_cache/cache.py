"""The slides on this machine's disk: one copy per content, pinned while in use, within a byte budget.

Owns the folder and who holds what in it. Must not know where slides come from or what they show.

    AA/SHA256/slide.tif   a slide; whoever uses it holds a shared lock on it, and its mtime says when it was last used
    AA/SHA256/slide       of a slide of several files: a link to the main one, which is locked and dated likewise
    AA/SHA256/for-WORK    that piece of work waits for this slide, so it is not evicted
    parts/NAME            a slide on its way in, locked by its writer; unlocked = its writer is dead, or it is on its
                          way out
    sources/KEY           what a source gave last; locked by the one who asks this source

Locks are `flock`: the kernel drops them when a process dies. Moves, pins and evictions happen under one more, `lock`,
within milliseconds each, so that a slide seen to be unpinned stays so until it is removed.
"""

import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.disk import sync_folder, try_lock
from worker.progress import Progress
from worker.slide_cache.eviction import Entry, SlideCacheEviction
from worker.slide_cache.file_set import FileSet
from worker.slide_cache.local_slide import LocalSlide
from worker.slide_cache.partial_file import CachedSource, PartialFile

_POLL_S = 0.1


class SlideCache:
    """A folder of slides that several threads and processes share."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._parts = folder, folder / "parts"
        self._room = SlideCacheEviction(folder, max_bytes)
        for name in ("parts", "sources"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    @property
    def disk_bytes(self) -> int:
        """The most that the disk below could ever hold."""
        return self._room.disk_bytes

    @contextmanager
    def source(self, key: str, watch: Progress) -> Iterator[CachedSource]:
        """Hold the source `key` alone; while another holds it, wait and stay open to `Stop`."""
        path = self._folder / "sources" / key
        while True:
            with os.fdopen(
                os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0
            ) as file:
                polls = 0
                while not try_lock(file):
                    polls += 1
                    watch.progress("waiting", polls, 0)
                    time.sleep(_POLL_S)
                if os.fstat(
                    file.fileno()
                ).st_nlink:  # else it was swept away between opening and locking
                    os.utime(file.fileno())
                    yield CachedSource(file)
                    return

    @contextmanager
    def part(self) -> Iterator[PartialFile]:
        """A new part, pinned from birth; unless it was put on the shelf it is removed at the end."""
        with self._room.lock():
            number, name = tempfile.mkstemp(dir=self._parts)
            file = os.fdopen(number, "r+b", buffering=0)
            fcntl.flock(file, fcntl.LOCK_SH)
        try:
            yield PartialFile(file, Path(name), self._room.grow)
        finally:
            with self._room.lock(), file:
                Path(name).unlink(missing_ok=True)

    @contextmanager
    def bundle(self) -> Iterator[FileSet]:
        """A new bundle, pinned from birth; unless it was put on the shelf it is removed at the end."""
        with self._room.lock():
            bundle = FileSet(Path(tempfile.mkdtemp(dir=self._parts)), self._room.grow)
        try:
            yield bundle
        finally:
            with self._room.lock():
                bundle.close()
                shutil.rmtree(bundle.place, ignore_errors=True)

    @contextmanager
    def put(self, part: PartialFile, suffix: str) -> Iterator[LocalSlide]:
        """Put a whole slide on the shelf, unless its content stands there; pinned while the context lasts."""
        part.settle()
        with self._room.lock():
            entry = self._entry(part.digest)
            if not entry:
                place = self._place(part.digest)
                place.mkdir(parents=True, exist_ok=True)
                part.path.rename(place / f"slide{suffix}")
                sync_folder(place)
                entry = Entry(place / f"slide{suffix}")
            path, file = entry.pin()
        with file:
            yield LocalSlide(path, part.digest, part.bytes)

    @contextmanager
    def put_bundle(self, bundle: FileSet, main: str, digest: str) -> Iterator[LocalSlide]:
        """Put a whole slide of several files on the shelf, unless it stands there; pinned while the context lasts.

        `main`: the file to open, relative to the bundle's folder. `digest`: 64 hex characters that tell the content.
        """
        bundle.settle(main)
        with self._room.lock():
            entry = self._entry(digest)
            if not entry:
                place = self._place(digest)
                if place.exists():
                    self._room.clear(place)
                place.parent.mkdir(exist_ok=True)
                bundle.place.rename(place)
                sync_folder(place.parent)
                entry = Entry(place / "slide")
            path, file = entry.pin()
        with file:
            yield LocalSlide(path, digest, entry.bytes)

    def has(self, digest: str) -> bool:
        """Whether the slide stands on the shelf now; only `pinned` makes it stay."""
        return self._entry(digest) is not None

    @contextmanager
    def pinned(self, digest: str) -> Iterator[LocalSlide | None]:
        """The slide, kept from eviction while the context lasts; None when it is not on the shelf."""
        with self._room.lock():
            entry = self._entry(digest)
            found = entry.pin() if entry else None
        if found is None or entry is None:
            yield None
            return
        path, file = found
        with file:
            yield LocalSlide(path, digest, entry.bytes)

    def want(self, digest: str, work: str) -> None:
        """Keep the slide from eviction until `release`: this work was promised to find it here."""
        with self._room.lock():
            if self.has(digest):
                (self._place(digest) / f"for-{work}").touch()

    def release(self, digest: str, work: str) -> None:
        """The work needs the slide no longer."""
        if re.fullmatch(r"[0-9a-f]{64}", digest):
            (self._place(digest) / f"for-{work}").unlink(missing_ok=True)

    def wanted(self) -> list[tuple[str, str]]:
        """Every promise: the digest of a slide, and the work that waits for it."""
        return [
            (path.parent.name, path.name.removeprefix("for-"))
            for path in self._folder.glob("??/*/for-*")
        ]

    def discard(self, unused_s: float) -> None:
        """Remove slides that nobody used for so long and no work waits for."""
        with self._room.lock():
            self._room.discard(unused_s)

    def _entry(self, digest: str) -> Entry | None:
        return Entry.at(self._place(digest)) if re.fullmatch(r"[0-9a-f]{64}", digest) else None

    def _place(self, digest: str) -> Path:
        return self._folder / digest[:2] / digest
