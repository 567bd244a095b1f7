"""A slide on its way in: the bytes that came so far, and what its source gave the last time.

Owns how both are written to their files. Must not know where these lie and who else uses them; that is the shelf's.
"""

import errno
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from broker.errors import TemporaryError

_HEAD_BYTES = 1024
_HASH_BYTES, _READ_BYTES = 2**24, 2**20


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """What a source gave last: the slide, its strong ETag if any, the URL that was asked (hashed) and when (Unix s)."""

    digest: str
    etag: str
    asked: str
    at: float


class CachedSource:
    """What is remembered of a source, for the one who holds its lock."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    @property
    def kept(self) -> SourceRecord | None:
        """What it gave last; None when it was never asked, or when a writer died half-way."""
        self._file.seek(0)
        try:
            return SourceRecord(**json.loads(self._file.read()))
        except (ValueError, TypeError):
            return None

    def keep(self, kept: SourceRecord) -> None:
        """Remember what it gave."""
        self._file.seek(0)
        self._file.truncate()
        self._file.write(json.dumps(asdict(kept)).encode())


class PartialFile:
    """The part of a slide that is here, from wherever it came first. Its file has the full length, to hold the room."""

    def __init__(self, file: BinaryIO, path: Path, grow: Callable[[BinaryIO, int], None]) -> None:
        self._file, self.path, self._grow = file, path, grow
        self._counting = Lock()
        self.restart()

    def restart(self, *algorithms: str) -> None:
        """Forget what came; the room stays. What comes is hashed by SHA-256 and by `algorithms` of hashlib."""
        self.bytes = self._hashed_bytes = 0
        self._hashes = {
            name: hashlib.new(name, usedforsecurity=False) for name in ("sha256", *algorithms)
        }

    def reserve(self, size_bytes: int) -> None:
        """Make sure that the slide may grow to `size_bytes`. Raises `TemporaryError("shelf_full")`."""
        if size_bytes > os.fstat(self._file.fileno()).st_size:
            self._grow(self._file, size_bytes)

    def write(self, data: bytes, at: int | None = None) -> None:
        """Take in the next bytes, or those from `at` on, which several threads may do at a time.

        Raises `TemporaryError("shelf_full")` when the disk is full all the same.
        """
        rest, place = memoryview(data), self.bytes if at is None else at
        while rest:
            try:
                written = os.pwrite(self._file.fileno(), rest, place)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise TemporaryError(
                        "shelf_full", f"the disk with {self.path.parent} is full"
                    ) from None
                raise
            rest, place = rest[written:], place + written
        with self._counting:
            self.bytes += len(data)

    def hash_on(self, end: int) -> bool:
        """Hash a stretch more of what is here without a gap up to `end`; False when nothing was left to hash."""
        stop = min(end, self._hashed_bytes + _HASH_BYTES)
        left = self._hashed_bytes < stop
        while self._hashed_bytes < stop:
            data = os.pread(
                self._file.fileno(), min(_READ_BYTES, stop - self._hashed_bytes), self._hashed_bytes
            )
            for each in self._hashes.values():
                each.update(data)
            self._hashed_bytes += len(data)
        return left

    @property
    def digest(self) -> str:
        """SHA-256 of what came so far, in hex."""
        return self.digest_by("sha256")

    def digest_by(self, algorithm: str) -> str:
        """The digest of what came so far, in hex, by SHA-256 or an algorithm named at the last restart."""
        while self.hash_on(self.bytes):
            pass
        return self._hashes[algorithm].hexdigest()

    def head(self) -> bytes:
        """The first bytes that came, at most 1024."""
        return os.pread(self._file.fileno(), min(_HEAD_BYTES, self.bytes), 0)

    def settle(self) -> None:
        """End the file at what came and bring it safely to the disk."""
        self._file.truncate(self.bytes)
        os.fsync(self._file.fileno())
