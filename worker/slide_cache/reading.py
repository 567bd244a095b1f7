"""A slide cache that is only read, perhaps on a disk that this process may not write to.

Eviction takes an exclusive lock on the cache's lock file; the shared one that is taken here keeps
it away while a slide is pinned, and needs no right to write. `SlideCache` does all the rest.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from worker.slide_cache.cache import DIGEST
from worker.slide_cache.eviction import CacheEntry
from worker.slide_cache.local_slide import LocalSlide


class ReadSlideCache:
    """The slides in the folder of a slide cache. Threads may share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, path: Path) -> LocalSlide | None:
        """Return the slide whose file is `path`, links resolved; None where that is not cached.

        Raise `ValueError` for a path outside of the cache.
        """
        digest = _digest_in(path.relative_to(self._folder.resolve()))
        if digest is None:
            return None
        return self._slide(digest)

    def holds(self, path: Path) -> bool:
        """Return whether the path, links resolved, is below the cache's folder."""
        return path.is_relative_to(self._folder.resolve())

    @contextmanager
    def pinned(self, digest: str) -> Iterator[LocalSlide | None]:
        """Pin the slide while the context lasts. Give None when it is not in the cache.

        The use is recorded where the disk lets this process do so.
        """
        try:
            lock = (self._folder / "lock").open("rb")
        except FileNotFoundError:  # nothing was ever put into this cache
            yield None
            return
        with lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            entry = CacheEntry.find(self._folder / digest[:2] / digest)
            if entry is not None:
                path, file = entry.lock()
                size_bytes = entry.size_bytes
        if entry is None:
            yield None
            return
        with file:
            with suppress(OSError):
                os.utime(path)
            yield LocalSlide(path, digest, size_bytes)

    def _slide(self, digest: str) -> LocalSlide | None:
        entry = CacheEntry.find(self._folder / digest[:2] / digest)
        if entry is None:
            return None
        try:
            return LocalSlide(entry.main_file, digest, entry.size_bytes)
        except FileNotFoundError:  # it was evicted meanwhile
            return None


def _digest_in(relative: Path) -> str | None:
    """Return the digest of the slide in whose folder the path lies."""
    parts = relative.parts
    if len(parts) < 3 or not DIGEST.fullmatch(parts[1]) or parts[0] != parts[1][:2]:
        return None
    return parts[1]
