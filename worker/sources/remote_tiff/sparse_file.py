"""A local file as long as a remote one, of which only the ranges that were needed are filled; the rest are holes.

Owns which ranges are here. Must not know what they mean.
"""

import errno
import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from broker.errors import TemporaryError
from worker.sources.http.byte_ranges import FIRST_BYTES, Range, RangedUrl, RangesUnsuitable

_BLOCK_BYTES: Final = 4096  # what a file system gives at least for each end of a range
_HASHED_BYTES: Final = 2**20
_GAP_BYTES: Final = 2**16  # comes along where it saves a request
_MAX_RANGES: Final = 4096


class SparseFile:
    """The file. `reserve` is told how many bytes of disk it may come to before any of them is written."""

    def __init__(self, path: Path, remote: RangedUrl, reserve: Callable[[int], None]) -> None:
        self.path, self._remote, self._reserve = path, remote, reserve
        self._file = path.open("x+b", buffering=0)
        self._here: list[Range] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _k: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None
    ) -> None:
        self._file.close()

    def begin(self, known_etag: str = "") -> bool:
        """Have the first bytes, unless the server says that what it gave before still stands; False as `RangedUrl`."""
        self._reserve(FIRST_BYTES + _BLOCK_BYTES)
        if not self._remote.begin(known_etag, self._write):
            return False
        if not self._remote.unchanged:
            self._file.truncate(self._remote.total_bytes)
            self._here = [Range(0, min(FIRST_BYTES, self._remote.total_bytes))]
        return True

    @property
    def total_bytes(self) -> int:
        """Its length, holes and all."""
        return self._remote.total_bytes

    def bytes_with(self, wanted: Iterable[Range]) -> int:
        """How many bytes of it would be here if these ranges were, too."""
        return sum(
            stop - start for start, stop in merged([*self._here, *merged(wanted, _GAP_BYTES)])
        )

    def need(self, wanted: Iterable[Range]) -> None:
        """Have these ranges here. Raises `RangesUnsuitable`, `TemporaryError`: `shelf_full`, and what `RangedUrl.fetch` does."""
        lacking = _without(merged(wanted, _GAP_BYTES), self._here)
        if len(lacking) > _MAX_RANGES:
            raise RangesUnsuitable(f"what is needed of it lies in {len(lacking)} places")
        if lacking:
            here = merged([*self._here, *lacking])
            self._reserve(sum(stop - start + 2 * _BLOCK_BYTES for start, stop in here))
            self._remote.fetch(lacking, self._write)
            self._here = here

    def has(self, wanted: Range) -> bool:
        """Whether all of a range is here."""
        return not _without([wanted], self._here)

    def read(self, wanted: Range) -> bytes:
        """The bytes of a range that is here."""
        return os.pread(self._file.fileno(), wanted.stop - wanted.start, wanted.start)

    def digest(self, manifest: bytes) -> str:
        """SHA-256, in hex, over `manifest` and the offset, length and SHA-256 of each range that is here."""
        whole = hashlib.sha256(manifest)
        for found in self._here:
            whole.update(
                b"%d %d %s\n" % (found.start, found.stop - found.start, self._hashed(found))
            )
        return whole.hexdigest()

    def _hashed(self, found: Range) -> bytes:
        sha256 = hashlib.sha256()
        for start in range(found.start, found.stop, _HASHED_BYTES):
            sha256.update(self.read(Range(start, min(start + _HASHED_BYTES, found.stop))))
        return sha256.hexdigest().encode()

    def _write(self, at: int, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                wrote = os.pwrite(self._file.fileno(), rest, at)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise TemporaryError(
                        "shelf_full", f"the disk with {self.path.parent} is full"
                    ) from None
                raise
            at, rest = at + wrote, rest[wrote:]


def merged(ranges: Iterable[Range], gap_bytes: int = 0) -> list[Range]:
    """The same bytes in order and without overlaps; gaps of up to `gap_bytes` between two ranges are filled."""
    found: list[Range] = []
    for start, stop in sorted(ranges):
        if found and start <= found[-1].stop + gap_bytes:
            found[-1] = Range(found[-1].start, max(stop, found[-1].stop))
        elif start < stop:
            found.append(Range(start, stop))
    return found


def _without(wanted: list[Range], here: list[Range]) -> list[Range]:
    """What of `wanted` is not `here`; both merged."""
    lacking: list[Range] = []
    others = iter(here)
    other = next(others, None)
    for start, stop in wanted:
        at = start
        while other and other.start < stop:
            lacking += [Range(at, other.start)] if at < other.start else []
            at = max(at, other.stop)
            if other.stop >= stop:
                break
            other = next(others, None)
        lacking += [Range(at, stop)] if at < stop else []
    return lacking
