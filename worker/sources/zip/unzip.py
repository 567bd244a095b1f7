"""Reading a zip archive that may be hostile, within bounds of memory and disk."""

import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path, PurePosixPath
from typing import IO, Final

from broker.uploads.litter import is_litter
from worker.progress import Progress
from worker.slide_cache.partial_file import PartialFile
from worker.slides import signatures
from worker.slides.errors import NotASlideError, UnreadableSlideError
from worker.sources.errors import InputTooLargeError
from worker.sources.zip import limits

_MAX_RATIO: Final = 200  # slides are compressed already
_UNCHECKED_BYTES: Final = 10 * 2**20  # small texts and empty tiles are compressed far better
_MAX_DIRECTORY_BYTES: Final = 4 * 2**20  # 5000 files with names of 700 characters
_READ_BYTES: Final = 2**18
_HEAD_BYTES: Final = 1024
_MESSAGE_CHARS: Final = 200
_SPLIT_ARCHIVE: Final = b"PK00" + signatures.ZIP[0]  # meant to be split, but in one piece
_ZIP_ERRORS: Final = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    RuntimeError,
    OverflowError,
)
"""What zipfile raises for a damaged archive."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive.

    `name`: relative, without `.` and `..`. `head`: its first 1024 bytes.
    """

    name: PurePosixPath
    head: bytes
    size_bytes: int
    info: zipfile.ZipInfo


class Archive:
    """An open archive whose directory is within bounds.

    `members`: its files, without those of file managers.
    """

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._zip = archive
        self.members = tuple(
            Member(name, self._head(info), info.file_size, info)
            for name, info in limits.files(archive).items()
            if not is_litter(str(name))
        )

    def copy(
        self,
        member: Member,
        part: PartialFile,
        progress: Progress,
        unpacked_bytes: int,
        total_bytes: int,
    ) -> None:
        """Unpack `member` into `part`.

        Of `total_bytes`, `unpacked_bytes` have been unpacked before.

        Raise `UnreadableSlideError` when it is not as long as the archive's directory says.
        """
        with self._open(member.info) as file:
            while data := _read(file, _READ_BYTES):
                part.write(data)
                progress.report("unpacking", unpacked_bytes + part.bytes, total_bytes)
        if part.bytes != member.size_bytes:
            raise _damaged(
                f"{limits.format_name(member.name)} has {part.bytes} bytes "
                f"where {member.size_bytes} are declared"
            )

    def _head(self, info: zipfile.ZipInfo) -> bytes:
        with self._open(info) as file:
            return _read(file, _HEAD_BYTES)

    def _open(self, info: zipfile.ZipInfo) -> IO[bytes]:
        with _reading():
            return self._zip.open(info)


def is_zip(head: bytes) -> bool:
    """Return whether a file that begins with `head` is a zip archive."""
    return head.startswith((*signatures.ZIP, _SPLIT_ARCHIVE))


def check_is_zip(head: bytes) -> None:
    """Raise `NotASlideError` for a file that begins with `head` and is no zip archive."""
    if not is_zip(head):
        raise NotASlideError(
            "what came is no zip archive",
            hint="give the address of a zip archive; of a slide that is not zipped, give `url`",
        )


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open the archive at `path` for the context.

    Raise `NotASlideError` for what is no zip archive or not safe to unpack, `UnreadableSlideError`
    for a damaged one.
    """
    with _BoundedFile(path) as file:
        check_is_zip(file.read(_HEAD_BYTES))
        with _reading():
            archive = zipfile.ZipFile(file)
        with archive:
            yield Archive(archive)


def total_bytes(members: Sequence[Member], limit_bytes: int) -> int:
    """Return how many bytes the members have when unpacked.

    Raise `InputTooLargeError` for more than `limit_bytes`, `NotASlideError` where no slide is
    compressed that well.
    """
    unpacked_bytes = sum(member.size_bytes for member in members)
    packed_bytes = sum(member.info.compress_size for member in members)
    if unpacked_bytes > limit_bytes:
        raise InputTooLargeError(
            f"the zip unpacks to {unpacked_bytes} bytes; there is room for {limit_bytes}",
            hint="the operator sets worker.slides.max_slide_bytes and max_bytes",
        )
    if unpacked_bytes > _UNCHECKED_BYTES + _MAX_RATIO * packed_bytes:
        raise limits.refusal(
            f"{packed_bytes} bytes of it unpack to {unpacked_bytes}; "
            f"no slide is packed {_MAX_RATIO}:1"
        )
    return unpacked_bytes


@contextmanager
def _reading() -> Iterator[None]:
    """Translate what zipfile raises for a damaged archive."""
    try:
        yield
    except _ZIP_ERRORS as error:
        message = str(error)[:_MESSAGE_CHARS]
        raise _damaged(message or type(error).__name__) from None


def _read(file: IO[bytes], size_bytes: int) -> bytes:
    with _reading():
        return file.read(size_bytes)


class _BoundedFile(FileIO):
    """A file from which no more bytes are read at a time than the directory of 5000 files has."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Return at most `size` bytes.

        Raise `BadZipFile` when that is more than a directory may have.
        """
        if size is None or size < 0:
            return super().read(_MAX_DIRECTORY_BYTES)
        if size > _MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile("its directory is longer than that of 5000 files")
        return super().read(size)


def _damaged(detail: str) -> UnreadableSlideError:
    return UnreadableSlideError(
        f"The zip is broken: {detail}", hint="pack and send it again, whole"
    )
