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
from typing import BinaryIO

from broker.errors import TemporaryError

_HEAD_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Kept:
    """What a source gave last: the slide, its strong ETag if any, the URL that was asked (hashed) and when (Unix s)."""

    digest: str
    etag: str
    asked: str
    at: float


class Source:
    """What is remembered of a source, for the one who holds its lock."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    @property
    def kept(self) -> Kept | None:
        """What it gave last; None when it was never asked, or when a writer died half-way."""
        self._file.seek(0)
        try:
            return Kept(**json.loads(self._file.read()))
        except (ValueError, TypeError):
            return None

    def keep(self, kept: Kept) -> None:
        """Remember what it gave."""
        self._file.seek(0)
        self._file.truncate()
        self._file.write(json.dumps(asdict(kept)).encode())


class Part:
    """The part of a slide that is here, hashed as it comes. Its file has the full length, to hold the room."""

    def __init__(self, file: BinaryIO, path: Path, grow: Callable[[BinaryIO, int], None]) -> None:
        self._file, self.path, self._grow = file, path, grow
        self.restart()

    def restart(self) -> None:
        """Forget what came; the room stays."""
        self._file.seek(0)
        self.bytes, self._sha256 = 0, hashlib.sha256()

    def reserve(self, size_bytes: int) -> None:
        """Make sure that the slide may grow to `size_bytes`. Raises `TemporaryError("shelf_full")`."""
        if size_bytes > os.fstat(self._file.fileno()).st_size:
            self._grow(self._file, size_bytes)

    def write(self, data: bytes) -> None:
        """Take in the next bytes. Raises `TemporaryError("shelf_full")` when the disk is full all the same."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._file.write(rest) :]
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise TemporaryError("shelf_full", f"the disk with {self.path.parent} is full") from None
                raise
        self._sha256.update(data)
        self.bytes += len(data)

    @property
    def digest(self) -> str:
        """SHA-256 of what came so far, in hex."""
        return self._sha256.hexdigest()

    def head(self) -> bytes:
        """The first bytes that came, at most 1024."""
        return os.pread(self._file.fileno(), min(_HEAD_BYTES, self.bytes), 0)

    def settle(self) -> None:
        """End the file at what came and bring it safely to the disk."""
        self._file.truncate(self.bytes)
        os.fsync(self._file.fileno())
