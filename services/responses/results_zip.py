"""All result files of a scan as one zip archive, which is made while it is sent.

Nothing is written to a disk: the files are stored as they are, without compression, so the length
of the archive is known before the first byte is read, and a range of it can be answered.
"""

import hashlib
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from broker.file_storage.interface import Storage, StoredFile

MEDIA_TYPE: Final = "application/zip"
_DATE: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest date of the format: the same files are the same bytes."""
_MODE: Final = 0o100644 << 16

# The parts of an archive, in bytes, by APPNOTE 6.3.10, sections 4.3.7 to 4.3.16.
_LOCAL_HEADER: Final = 30
_LOCAL_ZIP64: Final = 20
_DESCRIPTOR: Final = 16
_DESCRIPTOR_ZIP64: Final = 24
_CENTRAL_HEADER: Final = 46
_END: Final = 22
_END_ZIP64: Final = 56 + 20


@dataclass(frozen=True, slots=True)
class ZippedFile:
    """One file of the archive: its name there, its key in the storage, and what is known of it."""

    name: str
    key: str
    stored: StoredFile


class ResultsZip:
    """The archive of some files of the storage, in the order of their names."""

    def __init__(self, storage: Storage, files: Sequence[ZippedFile]) -> None:
        self._storage = storage
        self._files = sorted(files, key=lambda file: file.name)
        self.size_bytes = self._archive_bytes()

    @property
    def tag(self) -> str:
        """Changes with the content; in quotes, as HTTP's ETag."""
        parts = [f"{file.name}\0{file.stored.tag}" for file in self._files]
        digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        return f'"{digest[:32]}"'

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes of the archive from `start` up to, not including, `end`.

        The files before `start` are read, too: their checksums stand behind them.
        """
        position = 0
        for chunk in self._chunks():
            part = chunk[max(0, start - position) : max(0, end - position)]
            position += len(chunk)
            if part:
                yield part
            if position >= end:
                return

    def _chunks(self) -> Iterator[bytes]:
        """Yield the whole archive, in parts."""
        pipe = _Pipe()
        with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:
            for file in self._files:
                info = zipfile.ZipInfo(file.name, _DATE)
                info.external_attr = _MODE
                info.file_size = file.stored.size_bytes
                with archive.open(info, "w") as entry:
                    for data in self._storage.read(file.key, 0, file.stored.size_bytes):
                        entry.write(data)
                        yield pipe.taken()
                yield pipe.taken()
        yield pipe.taken()

    def _archive_bytes(self) -> int:
        """Return how long the archive is that `zipfile` writes where it cannot seek."""
        offset = 0
        directory = 0
        for file in self._files:
            size = file.stored.size_bytes
            name = len(file.name.encode())
            directory += _CENTRAL_HEADER + name + _central_extra(size, offset)
            # zipfile reserves room for a file that might grow by 5 %
            if size * 1.05 > zipfile.ZIP64_LIMIT:
                offset += _LOCAL_HEADER + name + _LOCAL_ZIP64 + size + _DESCRIPTOR_ZIP64
            else:
                offset += _LOCAL_HEADER + name + size + _DESCRIPTOR
        end = _END
        if max(offset, directory) > zipfile.ZIP64_LIMIT:
            end += _END_ZIP64
        return offset + directory + end


def _central_extra(size: int, offset: int) -> int:
    """Return the bytes of the directory's extra field for what 32 bits do not hold."""
    numbers = 0
    if size > zipfile.ZIP64_LIMIT:
        numbers += 2
    if offset > zipfile.ZIP64_LIMIT:
        numbers += 1
    if not numbers:
        return 0
    return 4 + 8 * numbers


class _Pipe:
    """What `zipfile` writes into; it cannot seek."""

    def __init__(self) -> None:
        self._waiting: list[bytes] = []

    def write(self, data: bytes, /) -> int:
        """Keep the bytes until they are taken."""
        self._waiting.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing: the bytes are taken by whoever sends them."""

    def close(self) -> None:
        """Do nothing: it is no file."""

    def taken(self) -> bytes:
        """Return what was written since the last call."""
        data = b"".join(self._waiting)
        self._waiting.clear()
        return data
