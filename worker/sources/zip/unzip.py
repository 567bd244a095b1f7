"""A zip archive of unknown honesty, taken apart within bounds.

Owns what may come out of a zip, byte for byte. Must not know what the files are for.
"""

import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path, PurePosixPath
from typing import IO, Final

from broker.errors import OrderError
from worker.progress import Progress
from worker.slide_cache.partial_file import PartialFile
from worker.sources.zip import limits

_MAX_RATIO, _FREE_BYTES = (
    200,
    10 * 2**20,
)  # slides are compressed already; small texts and empty tiles are not
_MAX_DIRECTORY_BYTES: Final = 4 * 2**20  # 5000 files with names of 700 characters
_READ_BYTES: Final = 2**18
_HEAD_BYTES: Final = 1024
_SAID: Final = 200
_LITTER: Final = re.compile(
    r"(^|/)(__MACOSX/.*|\.DS_Store|\._[^/]*|Thumbs\.db|desktop\.ini|DICOMDIR)$", re.IGNORECASE
)
_BROKEN: Final = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    RuntimeError,
    OverflowError,
)
"""What zipfile raises over an archive that is not as it should be."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive. `name`: relative, without `.` and `..`. `head`: its first 1024 bytes."""

    name: PurePosixPath
    head: bytes
    bytes: int
    info: zipfile.ZipInfo


class Archive:
    """An open archive whose directory was found to be within bounds."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._zip = archive
        self.members = tuple(
            Member(name, self._head(info), info.file_size, info)
            for name, info in limits.files(archive).items()
            if not _LITTER.search(str(name))
        )

    def copy(
        self,
        member: Member,
        part: PartialFile,
        watch: Progress,
        before_bytes: int,
        total_bytes: int,
    ) -> None:
        """Unpack `member` into `part`; `watch` hears of it as of `total_bytes`, of which `before_bytes` are here.

        Raises `OrderError("slide_unreadable")` when it is not what the archive says it is.
        """
        with self._open(member.info) as file:
            while data := _read(file, _READ_BYTES):
                part.write(data)
                watch.progress("unpacking", before_bytes + part.bytes, total_bytes)
        if part.bytes != member.bytes:
            raise _broken(
                f"{limits.shown(member.name)} has {part.bytes} bytes where {member.bytes} are declared"
            )

    def _head(self, info: zipfile.ZipInfo) -> bytes:
        with self._open(info) as file:
            return _read(file, _HEAD_BYTES)

    def _open(self, info: zipfile.ZipInfo) -> IO[bytes]:
        with _reading():
            return self._zip.open(info)


def judge(head: bytes) -> None:
    """Raise `OrderError("not_a_slide")` for content that begins with `head` and so is no zip."""
    if not head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK00PK\x03\x04")):
        hint = "give the address of a zip archive; of a slide that is not zipped, give `url`"
        raise OrderError("not_a_slide", "what came is no zip archive", hint=hint)


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """The archive at `path`, as long as the context lasts.

    Raises `OrderError`: `not_a_slide` for what is no zip or one that no honest packer makes, `slide_unreadable` for one
    that is broken.
    """
    with _Bounded(path) as file:
        judge(file.read(_HEAD_BYTES))
        with _reading():
            archive = zipfile.ZipFile(file)
        with archive:
            yield Archive(archive)


def total_bytes(members: Sequence[Member], limit_bytes: int) -> int:
    """The bytes of the members, unpacked. Raises `OrderError` when they are too many, or packed too well to be true."""
    total, packed = (
        sum(member.bytes for member in members),
        sum(member.info.compress_size for member in members),
    )
    if total > limit_bytes:
        detail = f"the zip unpacks to {total} bytes; there is room for {limit_bytes}"
        raise OrderError(
            "input_too_large",
            detail,
            hint="the operator sets worker.slides.max_slide_bytes and max_bytes",
        )
    if total > _FREE_BYTES + _MAX_RATIO * packed:
        raise limits.refused(
            f"{packed} bytes of it unpack to {total}; no slide is packed {_MAX_RATIO}:1"
        )
    return total


@contextmanager
def _reading() -> Iterator[None]:
    """Around every look into an archive."""
    try:
        yield
    except _BROKEN as error:
        raise _broken(str(error)[:_SAID] or type(error).__name__) from None


def _read(file: IO[bytes], size_bytes: int) -> bytes:
    with _reading():
        return file.read(size_bytes)


class _Bounded(FileIO):
    """A file from which no more is read at a time than an honest archive's directory has."""

    def read(self, size: int | None = -1, /) -> bytes:
        """At most `size` bytes. Raises `BadZipFile` when that is more than a directory may have."""
        if size is not None and size > _MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile("its directory is longer than that of 5000 files")
        return super().read(_MAX_DIRECTORY_BYTES if size is None or size < 0 else size)


def _broken(detail: str) -> OrderError:
    return OrderError(
        "slide_unreadable", f"The zip is broken: {detail}", hint="pack and send it again, whole"
    )
