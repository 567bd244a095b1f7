"""What a program prints: kept in a bounded file, and followed by the worker while it runs.

The supervisor copies everything into a ring, an unnamed file in memory that the worker reads at
the same time: eight bytes with the number of bytes so far, then the newest bytes, each at its
number modulo the size. The file on disk gets the beginning at once, and the end when the program
has ended.
"""

import codecs
import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import Final

_COUNT: Final = struct.Struct("=Q")
_CHUNK_BYTES: Final = 65536
_READ_BYTES: Final = 2**20


def create_ring() -> int:
    """Return the descriptor of an empty ring."""
    return os.memfd_create("output", os.MFD_CLOEXEC)


class OutputLog:
    """Writes the ring and the file at `path`, at most `max_bytes`."""

    def __init__(self, path: Path, ring: int, max_bytes: int) -> None:
        self._head_bytes = max_bytes // 2
        self._ring = ring
        self._ring_bytes = max_bytes - self._head_bytes
        self._total = 0
        self.most_bytes = min(_READ_BYTES, max(1, self._ring_bytes // 4))
        """How much may be added at a time: a reader is only that far from being overtaken."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._file = os.fdopen(descriptor, "wb", buffering=0)

    def add(self, printed: bytes) -> None:
        """Keep what was printed, at most `most_bytes` at a time."""
        room = self._head_bytes - self._total
        if room > 0:
            self._write(printed[:room])
        self._add_to_ring(printed)

    def finish(self) -> None:
        """Write the end into the file, and close it."""
        if self._total > self._head_bytes:
            self._write(self._tail())
        self._file.close()

    def _tail(self) -> bytes:
        """Return what the file lacks: the rest, or how much is left out and the end."""
        lacking = self._total - self._head_bytes
        if lacking <= self._ring_bytes:
            return self._newest(lacking)
        left_out = f"\n... {lacking - self._ring_bytes} bytes and more are left out ...\n".encode()
        newest = self._newest(self._ring_bytes - len(left_out))
        return left_out + newest[newest.find(b"\n") + 1 :]

    def _newest(self, count: int) -> bytes:
        return read_ring(self._ring, self._ring_bytes, self._total - count, self._total)

    def _add_to_ring(self, printed: bytes) -> None:
        place = self._total % self._ring_bytes
        before_end = self._ring_bytes - place
        os.pwrite(self._ring, printed[:before_end], _COUNT.size + place)
        os.pwrite(self._ring, printed[before_end:], _COUNT.size)
        self._total += len(printed)
        os.pwrite(self._ring, _COUNT.pack(self._total), 0)

    def _write(self, data: bytes) -> None:
        with suppress(OSError):  # a full disk costs the log, not the run
            self._file.write(data)


class OutputReader:
    """Follows a ring from the beginning. Not for several threads."""

    def __init__(self, ring: int, max_bytes: int) -> None:
        self._ring = ring
        self._ring_bytes = max_bytes - max_bytes // 2
        self._safe_bytes = self._ring_bytes - self._ring_bytes // 4
        self._position = 0
        self._pending = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def new_output(self, *, has_ended: bool) -> str:
        """Return what was printed since the last call, at most 64 KiB, in whole lines.

        A line that is longer, and the last one of a program that has ended, is returned as it is.
        What was overwritten in the meantime is left out.
        """
        missing = _CHUNK_BYTES - len(self._pending)
        self._pending += self._read(missing)
        end = self._pending.rfind(b"\n") + 1
        if end == 0 and (has_ended or len(self._pending) >= _CHUNK_BYTES):
            end = len(self._pending)
        lines = self._pending[:end]
        self._pending = self._pending[end:]
        return self._decoder.decode(lines)

    def _read(self, most_bytes: int) -> bytes:
        total = printed_bytes(self._ring)
        start = max(self._position, total - self._safe_bytes)
        end = min(total, start + most_bytes)
        read = read_ring(self._ring, self._ring_bytes, start, end)
        oldest = printed_bytes(self._ring) - self._safe_bytes
        if oldest > start:  # overwritten while it was read
            read = read[oldest - start :]
        self._position = end
        return read


def printed_bytes(ring: int) -> int:
    """Return how many bytes were printed so far."""
    count = os.pread(ring, _COUNT.size, 0)
    if len(count) < _COUNT.size:
        return 0
    return int(_COUNT.unpack(count)[0])


def read_ring(ring: int, ring_bytes: int, start: int, end: int) -> bytes:
    """Return the bytes from number `start` to before `end`, at most as many as the ring holds."""
    if start >= end:
        return b""
    place = start % ring_bytes
    before_end = min(end - start, ring_bytes - place)
    first = os.pread(ring, before_end, _COUNT.size + place)
    return first + os.pread(ring, end - start - before_end, _COUNT.size)
