"""A local file as long as a remote one, of which only the ranges that were needed are filled.

The rest are holes, which take no disk.
"""

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from worker.disk import DISK_FULL_ERRNOS
from worker.slide_cache.errors import DiskFullError
from worker.sources.http.byte_ranges import FIRST_BYTES, Range, RangedUrl, RangesUnsuitable

_BLOCK_BYTES: Final = 4096  # of disk, which each end of a range may take in addition
_HASH_STEP_BYTES: Final = 2**20
_MAX_GAP_BYTES: Final = 2**16  # fetched together with its neighbours, which saves a request
_MAX_RANGES: Final = 4096


class SparseFile:
    """A new file at `path` with the ranges of `remote` that were needed so far.

    `reserve` is called with the bytes of disk that it may take in all, before they are written.
    """

    def __init__(self, path: Path, remote: RangedUrl, reserve: Callable[[int], None]) -> None:
        self.path = path
        self._remote = remote
        self._reserve = reserve
        self._file = path.open("x+b", buffering=0)
        self._filled: list[Range] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def begin(self, known_etag: str = "") -> bool:
        """Fetch the first bytes unless the server says that `known_etag` is still valid.

        Return False where the server gives no ranges that can be trusted.
        """
        self._reserve(FIRST_BYTES + _BLOCK_BYTES)
        if not self._remote.begin(known_etag, self._write):
            return False
        if not self._remote.unchanged:
            self._file.truncate(self._remote.total_bytes)
            self._filled = [Range(0, min(FIRST_BYTES, self._remote.total_bytes))]
        return True

    @property
    def total_bytes(self) -> int:
        """The length of the file, holes included."""
        return self._remote.total_bytes

    def bytes_with(self, needed: Iterable[Range]) -> int:
        """Return how many bytes would be filled if these ranges were, too."""
        ranges = merged([*self._filled, *merged(needed, _MAX_GAP_BYTES)])
        return sum(stop - start for start, stop in ranges)

    def need(self, needed: Iterable[Range]) -> None:
        """Fetch what is missing of these ranges.

        Raise `RangesUnsuitable` for too many separate ranges, `TemporaryError` where the disk is
        full, and what `RangedUrl.fetch` raises.
        """
        missing = _subtract(merged(needed, _MAX_GAP_BYTES), self._filled)
        if len(missing) > _MAX_RANGES:
            raise RangesUnsuitable(f"what is needed of it lies in {len(missing)} places")
        if not missing:
            return
        filled = merged([*self._filled, *missing])
        self._reserve(sum(stop - start + 2 * _BLOCK_BYTES for start, stop in filled))
        self._remote.fetch(missing, self._write)
        self._filled = filled

    def has(self, needed: Range) -> bool:
        """Return whether all of a range is filled."""
        return not _subtract([needed], self._filled)

    def read(self, filled: Range) -> bytes:
        """Return the bytes of a range that is filled."""
        return os.pread(self._file.fileno(), filled.stop - filled.start, filled.start)

    def digest(self, manifest: bytes) -> str:
        """Return the SHA-256 that identifies the manifest and the file's filled ranges, in hex.

        It is over the manifest and the offset, length and SHA-256 of each range.
        """
        whole = hashlib.sha256(manifest)
        for filled in self._filled:
            size_bytes = filled.stop - filled.start
            whole.update(b"%d %d %s\n" % (filled.start, size_bytes, self._range_digest(filled)))
        return whole.hexdigest()

    def _range_digest(self, filled: Range) -> bytes:
        sha256 = hashlib.sha256()
        for start in range(filled.start, filled.stop, _HASH_STEP_BYTES):
            sha256.update(self.read(Range(start, min(start + _HASH_STEP_BYTES, filled.stop))))
        return sha256.hexdigest().encode()

    def _write(self, offset: int, data: bytes) -> None:
        remaining = memoryview(data)
        while remaining:
            try:
                written_bytes = os.pwrite(self._file.fileno(), remaining, offset)
            except OSError as error:
                if error.errno in DISK_FULL_ERRNOS:
                    raise DiskFullError(self.path.parent) from None
                raise
            offset += written_bytes
            remaining = remaining[written_bytes:]


def merged(ranges: Iterable[Range], max_gap_bytes: int = 0) -> list[Range]:
    """Return the same bytes as ranges in order that neither overlap nor touch.

    Gaps of up to `max_gap_bytes` between two ranges are included.
    """
    found: list[Range] = []
    for start, stop in sorted(ranges):
        if found and start <= found[-1].stop + max_gap_bytes:
            found[-1] = Range(found[-1].start, max(stop, found[-1].stop))
        elif start < stop:
            found.append(Range(start, stop))
    return found


def _subtract(needed: list[Range], filled: list[Range]) -> list[Range]:
    """Return what of `needed` is not in `filled`; both are merged."""
    missing: list[Range] = []
    others = iter(filled)
    other = next(others, None)
    for start, stop in needed:
        position = start
        while other and other.start < stop:
            if position < other.start:
                missing.append(Range(position, other.start))
            position = max(position, other.stop)
            if other.stop >= stop:
                break
            other = next(others, None)
        if position < stop:
            missing.append(Range(position, stop))
    return missing
