"""A slide that is still being written, and what the cache remembers of the source of a slide.

Both get their open files from the cache and do not know where these lie or who else uses them.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Protocol, Self

from worker.disk import DISK_FULL_ERRNOS
from worker.slide_cache.errors import DiskFullError

_HEAD_BYTES = 1024
_HASH_BYTES = 2**24
_READ_BYTES = 2**20


class DiskBudget(Protocol):
    """Where a file that grows gets its disk space from."""

    def grow(self, file: BinaryIO, size_bytes: int) -> None:
        """Set the length of the file to `size_bytes`. Raise an error where that exceeds a limit."""


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """The last answer of a source, as the JSON file in `sources/` holds it.

    `digest`: the slide, by the SHA-256 of its content. `etag`: its strong ETag, or "".
    `fingerprint`: of the request that was answered. `requested_at`: when that was (Unix s).
    """

    digest: str
    etag: str
    fingerprint: str
    requested_at: float

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Return the record. Raise `ValueError`, `KeyError` or `TypeError` for any other text."""
        stored = json.loads(text)
        return cls(stored["digest"], stored["etag"], stored["asked"], stored["at"])

    def to_json(self) -> bytes:
        """Return the record as it is stored: `asked` is the fingerprint, `at` the time."""
        stored = {
            "digest": self.digest,
            "etag": self.etag,
            "asked": self.fingerprint,
            "at": self.requested_at,
        }
        return json.dumps(stored).encode()


class CachedSource:
    """The record of one source. Only the holder of the lock on its file may use it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    @property
    def record(self) -> SourceRecord | None:
        """Return the last record, or None where none was written or a writer died half-way."""
        self._file.seek(0)
        try:
            return SourceRecord.from_json(self._file.read())
        except (ValueError, KeyError, TypeError):
            return None

    def save(self, record: SourceRecord) -> None:
        """Replace the record."""
        self._file.seek(0)
        self._file.truncate()
        self._file.write(record.to_json())


class PartialFile:
    """A file of a slide that is being written, with digests of its content.

    The file is as long as the space that is reserved for it, so that others count this space.
    `bytes`: how many bytes were written since the last restart.
    """

    def __init__(self, file: BinaryIO, path: Path, budget: DiskBudget) -> None:
        self.path = path
        self._file = file
        self._budget = budget
        self._count_lock = Lock()
        self.restart()

    def restart(self, *algorithms: str) -> None:
        """Forget what was written, but keep the reserved space.

        The new content is hashed by SHA-256 and by `algorithms`, which are names of `hashlib`.
        """
        self.bytes = 0
        self._hashed_bytes = 0
        self._hashes = {
            name: hashlib.new(name, usedforsecurity=False) for name in ("sha256", *algorithms)
        }

    def reserve(self, size_bytes: int) -> None:
        """Reserve disk space for `size_bytes` in all.

        Raise `SlideCacheFullError` where the cache has no room for them.
        """
        if size_bytes > os.fstat(self._file.fileno()).st_size:
            self._budget.grow(self._file, size_bytes)

    def write(self, data: bytes, at: int | None = None) -> None:
        """Write `data` at the byte offset `at`, or behind what was written so far.

        Several threads may write at offsets of their own at the same time.
        Raise `DiskFullError` when the disk is full although space was reserved.
        """
        if at is None:
            at = self.bytes
        self._write_at(memoryview(data), at)
        with self._count_lock:
            self.bytes += len(data)

    def _write_at(self, data: memoryview, offset: int) -> None:
        while data:
            try:
                written_bytes = os.pwrite(self._file.fileno(), data, offset)
            except OSError as error:
                if error.errno in DISK_FULL_ERRNOS:
                    raise DiskFullError(self.path.parent) from None
                raise
            data = data[written_bytes:]
            offset += written_bytes

    def hash_up_to(self, end: int) -> bool:
        """Hash up to 16 MiB more of the content before the byte offset `end`.

        The caller must know that everything before `end` was written.
        Return False when there was nothing left to hash.
        """
        stop = min(end, self._hashed_bytes + _HASH_BYTES)
        if self._hashed_bytes >= stop:
            return False
        while self._hashed_bytes < stop:
            length = min(_READ_BYTES, stop - self._hashed_bytes)
            data = os.pread(self._file.fileno(), length, self._hashed_bytes)
            for each in self._hashes.values():
                each.update(data)
            self._hashed_bytes += len(data)
        return True

    @property
    def digest(self) -> str:
        """Return the SHA-256 of what was written so far, in hex."""
        return self.hexdigest_of("sha256")

    def hexdigest_of(self, algorithm: str) -> str:
        """Return the digest of what was written so far, in hex.

        `algorithm` is "sha256" or was named in the last `restart`.
        """
        while self.hash_up_to(self.bytes):
            pass
        return self._hashes[algorithm].hexdigest()

    def first_bytes(self) -> bytes:
        """Return the first bytes of what was written, at most 1024."""
        return os.pread(self._file.fileno(), min(_HEAD_BYTES, self.bytes), 0)

    def flush(self) -> None:
        """Cut the file to what was written and flush it to the disk."""
        self._file.truncate(self.bytes)
        os.fsync(self._file.fileno())
