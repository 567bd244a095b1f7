"""The slides on this machine's disk: one copy per content, pinned while in use, within a byte budget.

Owns the folder and its locks. Must not know where slides come from or what they show.

    AA/SHA256/slide.tif   a slide; whoever uses it holds a shared lock on it, and its mtime says when it was last used
    AA/SHA256/for-WORK    that piece of work waits for this slide, so it is not evicted
    parts/NAME            a slide on its way in, locked by its writer; unlocked = its writer is dead
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from broker.errors import TemporaryError
from worker.incoming import Part, Source
from worker.locks import in_use, sync_folder, try_lock
from worker.values import Watch

_POLL_S = 0.1
_KEPT_FREE_BYTES = 10**9
_KEPT_FREE_PART = 0.05  # of a disk too small for a free gigabyte
_SOURCE_LIFE_S = 30 * 86400


@dataclass(frozen=True, slots=True)
class Copy:
    """A slide that is near. `digest`: SHA-256 of its content, or `stat:…` for a file used where it lies."""

    path: Path
    digest: str
    bytes: int

    def as_dict(self) -> dict[str, Any]:
        """The copy as the record of a scan keeps it."""
        return {"path": str(self.path), "digest": self.digest, "bytes": self.bytes}


class Shelf:
    """A folder of slides that several threads and processes share."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        for name in ("parts", "sources"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    @contextmanager
    def source(self, key: str, watch: Watch) -> Iterator[Source]:
        """Hold the source `key` alone; while another holds it, wait and stay open to `Stop`."""
        path = self._folder / "sources" / key
        while True:
            with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0) as file:
                polls = 0
                while not try_lock(file):
                    polls += 1
                    watch.progress("waiting", polls, 0)
                    time.sleep(_POLL_S)
                if os.fstat(file.fileno()).st_nlink:  # else it was swept away between opening and locking
                    os.utime(file.fileno())
                    yield Source(file)
                    return

    @contextmanager
    def part(self) -> Iterator[Part]:
        """A new part, pinned from birth; unless it was put on the shelf it is removed at the end."""
        with self._lock():
            number, name = tempfile.mkstemp(dir=self._folder / "parts")
            file = os.fdopen(number, "r+b", buffering=0)
            fcntl.flock(file, fcntl.LOCK_SH)
        try:
            yield Part(file, Path(name), self._grow)
        finally:
            with self._lock(), file:
                Path(name).unlink(missing_ok=True)

    @contextmanager
    def put(self, part: Part, suffix: str) -> Iterator[Copy]:
        """Put a whole slide on the shelf, unless its content stands there; pinned while the context lasts."""
        part.settle()
        with self._lock():
            if not self.has(part.digest):
                place = self._place(part.digest)
                place.mkdir(parents=True, exist_ok=True)
                part.path.rename(place / f"slide{suffix}")
                sync_folder(place)
            path, file = self._pin(part.digest)
        with file:
            yield Copy(path, part.digest, part.bytes)

    def has(self, digest: str) -> bool:
        """Whether the slide stands on the shelf now; only `pinned` makes it stay."""
        return bool(re.fullmatch(r"[0-9a-f]{64}", digest)) and any(self._place(digest).glob("slide*"))

    @contextmanager
    def pinned(self, digest: str) -> Iterator[Copy | None]:
        """The slide, kept from eviction while the context lasts; None when it is not on the shelf."""
        with self._lock():
            found = self._pin(digest) if self.has(digest) else None
        if found is None:
            yield None
            return
        path, file = found
        with file:
            yield Copy(path, digest, path.stat().st_size)

    def want(self, digest: str, work: str) -> None:
        """Keep the slide from eviction until `release`: this work was promised to find it here."""
        with self._lock():
            if self.has(digest):
                (self._place(digest) / f"for-{work}").touch()

    def release(self, digest: str, work: str) -> None:
        """The work needs the slide no longer."""
        if re.fullmatch(r"[0-9a-f]{64}", digest):
            (self._place(digest) / f"for-{work}").unlink(missing_ok=True)

    def wanted(self) -> list[tuple[str, str]]:
        """Every promise: the digest of a slide, and the work that waits for it."""
        return [(path.parent.name, path.name.removeprefix("for-")) for path in self._folder.glob("??/*/for-*")]

    def discard(self, unused_s: float) -> None:
        """Remove slides that nobody used for so long and no work waits for."""
        with self._lock():
            for path in list(self._folder.glob("??/*/slide*")):
                old = time.time() - path.stat().st_mtime > unused_s
                if old and not any(path.parent.glob("for-*")) and not in_use(path):
                    shutil.rmtree(path.parent)

    def _pin(self, digest: str) -> tuple[Path, BinaryIO]:
        """The slide, and the open file that holds it; this counts as a use."""
        path = next(self._place(digest).glob("slide*"))
        file = path.open("rb")
        fcntl.flock(file, fcntl.LOCK_SH)
        os.utime(path)
        return path, file

    def _grow(self, file: BinaryIO, size_bytes: int) -> None:
        """Make a part's file `size_bytes` long, evicting what was used least recently until that fits."""
        with self._lock():
            self._sweep()
            more_bytes = size_bytes - os.fstat(file.fileno()).st_size
            for path in self._victims(more_bytes):
                shutil.rmtree(path.parent)
            file.truncate(size_bytes)

    def _victims(self, more_bytes: int) -> list[Path]:
        """The slides to evict for `more_bytes` more. Raises `TemporaryError` when all that may go would not do."""
        slides, parts = list(self._folder.glob("??/*/slide*")), list((self._folder / "parts").iterdir())
        promised = sum(path.stat().st_size for path in slides + parts)
        missing = max(promised + more_bytes - self._max_bytes, more_bytes - self._free_bytes(parts))
        victims = []
        for path in sorted(slides, key=lambda slide: slide.stat().st_mtime_ns):
            if missing > 0 and not any(path.parent.glob("for-*")) and not in_use(path):
                victims.append(path)
                missing -= path.stat().st_size
        if missing > 0:
            detail = (
                f"no room on the shelf for {more_bytes} bytes: {missing} too many, and the rest is used or waited for"
            )
            raise TemporaryError("shelf_full", detail, hint="raise worker.slides.max_bytes or free the disk")
        return victims

    def _free_bytes(self, parts: list[Path]) -> int:
        disk = shutil.disk_usage(self._folder)
        unwritten = sum(max(0, path.stat().st_size - 512 * path.stat().st_blocks) for path in parts)
        return disk.free - unwritten - int(min(_KEPT_FREE_BYTES, _KEPT_FREE_PART * disk.total))

    def _sweep(self) -> None:
        """Remove parts whose writer died, and sources that nobody asked for a month."""
        for path in (self._folder / "parts").iterdir():
            if not in_use(path):
                path.unlink()
        for path in (self._folder / "sources").iterdir():
            if time.time() - path.stat().st_mtime > _SOURCE_LIFE_S and not in_use(path):
                path.unlink()

    def _place(self, digest: str) -> Path:
        return self._folder / digest[:2] / digest

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with (self._folder / "lock").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
