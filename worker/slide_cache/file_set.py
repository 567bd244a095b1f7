"""A slide of several files on its way in: their folder, and the room on the disk that it holds.

Owns what lies in that folder. Must not know where it stands and who else uses the disk; that is the shelf's.

    files/   the slide's files under their own names, by which the main one finds the others
    room     locked by the writer; as long as the files may become in all, and in the end as long as they are
    slide    a link to the main file
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from broker.errors import OrderError
from worker.disk import sync_folder
from worker.slide_cache.partial_file import PartialFile

ROOM = "room"
_BLOCK_BYTES = 512  # the unit of st_blocks, whatever the file system's own blocks are


class FileSet:
    """The files of one slide that are here. Whoever writes a file into `folder` has reserved its bytes before."""

    def __init__(self, place: Path, grow: Callable[[BinaryIO, int], None]) -> None:
        self.place, self.folder, self._grow = place, place / "files", grow
        self._lengthening = Lock()
        self._lengths: dict[str, int] = {}
        self.folder.mkdir()
        self._room = (place / ROOM).open("x+b", buffering=0)
        fcntl.flock(self._room, fcntl.LOCK_SH)

    def close(self) -> None:
        """Hold it no longer."""
        self._room.close()

    def reserve(self, size_bytes: int) -> None:
        """Make sure that all files may come to `size_bytes` of disk. Raises `TemporaryError("shelf_full")`."""
        if size_bytes > os.fstat(self._room.fileno()).st_size:
            self._grow(self._room, size_bytes)

    @contextmanager
    def part(self, name: str, limit_bytes: int) -> Iterator[PartialFile]:
        """The file `name`, filled as a slide of one file is; threads may fill several at the same time.

        Raises `OrderError("input_too_large")` before all files together are longer than `limit_bytes`.
        """
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x+b", buffering=0) as file:
            part = PartialFile(
                file,
                path,
                lambda _, size_bytes: self._lengthen(file, name, size_bytes, limit_bytes),
            )
            yield part
            self._lengths[name] = part.bytes

    def _lengthen(self, file: BinaryIO, name: str, size_bytes: int, limit_bytes: int) -> None:
        with self._lengthening:
            total_bytes = sum((self._lengths | {name: size_bytes}).values())
            if total_bytes > limit_bytes:
                detail = f"the slide's files have at least {total_bytes} bytes together; at most {limit_bytes} fit"
                raise OrderError(
                    "input_too_large",
                    detail,
                    hint="the operator sets worker.slides.max_slide_bytes",
                )
            self.reserve(total_bytes)
            self._lengths[name] = size_bytes
            file.truncate(size_bytes)

    def settle(self, main: str) -> int:
        """Name the file to open and bring all files safely to the disk; the bytes they take there."""
        (self.place / "slide").symlink_to(Path("files", main))
        for folder, _, names in os.walk(self.folder):
            for name in names:
                _sync_file(Path(folder, name))
            sync_folder(Path(folder))
        used_bytes = disk_bytes(self.folder)
        self.reserve(used_bytes)
        self._room.truncate(used_bytes)
        os.fsync(self._room.fileno())
        sync_folder(self.place)
        return used_bytes


def disk_bytes(folder: Path) -> int:
    """The disk that the files below `folder` take. Holes take none; a file that goes meanwhile does not count."""
    used = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                used += Path(path, name).lstat().st_blocks
    return used * _BLOCK_BYTES


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
