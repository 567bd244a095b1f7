"""A slide of several files that is still being written: one folder, and its reserved disk space.

    files/   the files of the slide under their own names, by which the main one finds the others
    room     locked by the writer; its length is the space reserved for all files together, and
             at last the space that they take
    slide    a link to the main file

The set does not know where its folder lies or who else uses the disk. The cache does.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from worker.disk import sync_file, sync_folder
from worker.slide_cache.errors import FileSetTooLargeError
from worker.slide_cache.partial_file import DiskBudget, PartialFile

RESERVATION = "room"
"""The name of the file in a set that reserves its disk space."""
_BLOCK_BYTES = 512  # the unit of st_blocks, whatever the block size of the file system is


class FileSet:
    """The files of one slide. Whoever writes a file into `folder` has reserved its bytes before.

    `root`: the folder with `files/`, `room` and `slide`. `folder`: `files/` in it.
    """

    def __init__(self, root: Path, budget: DiskBudget) -> None:
        self.root = root
        self.folder = root / "files"
        self._budget = budget
        self._lengths_lock = Lock()
        self._lengths: dict[str, int] = {}
        self.folder.mkdir()
        self._reservation = (root / RESERVATION).open("x+b", buffering=0)
        fcntl.flock(self._reservation, fcntl.LOCK_SH)

    def close(self) -> None:
        """Release the lock on the folder."""
        self._reservation.close()

    def reserve(self, size_bytes: int) -> None:
        """Reserve disk space for `size_bytes` of all files together.

        Raise `SlideCacheFullError` where the cache has no room for them.
        """
        if size_bytes > os.fstat(self._reservation.fileno()).st_size:
            self._budget.grow(self._reservation, size_bytes)

    @contextmanager
    def partial_file(self, name: str, limit_bytes: int) -> Iterator[PartialFile]:
        """Create the file `name` and give it to be written; threads may write several at a time.

        Its `reserve` raises `FileSetTooLargeError` when all files that were created so
        are longer than `limit_bytes` together.
        """
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x+b", buffering=0) as file:
            partial_file = PartialFile(file, path, _MemberBudget(self, name, limit_bytes))
            yield partial_file
            self._lengths[name] = partial_file.bytes

    def link(self, path: Path, name: str) -> Path | None:
        """Link the file at `path` into the set as `name`, and return where it is now.

        What becomes of `path` afterwards does not matter to it. Return None where no link can be
        made, or where this process may not write to the file: whoever uses a slide locks it and
        dates it. Raise `FileNotFoundError` where there is no file.
        """
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, target)
        except FileNotFoundError:
            raise
        except OSError:
            return None
        if os.access(target, os.R_OK | os.W_OK):
            return target
        target.unlink()
        return None

    def grow_member(self, file: BinaryIO, name: str, size_bytes: int, limit_bytes: int) -> None:
        """Lengthen the file `name`, which is open as `file`, and reserve its space.

        Raise `FileSetTooLargeError` when all files exceed `limit_bytes` together.
        """
        with self._lengths_lock:
            total_bytes = sum((self._lengths | {name: size_bytes}).values())
            if total_bytes > limit_bytes:
                raise FileSetTooLargeError(total_bytes, limit_bytes)
            self.reserve(total_bytes)
            self._lengths[name] = size_bytes
            file.truncate(size_bytes)

    def flush(self, main: str) -> int:
        """Link the file to open, `main`, and flush all files to the disk.

        Return the bytes of disk that the files take.
        """
        (self.root / "slide").symlink_to(Path("files", main))
        for folder, _, names in os.walk(self.folder):
            for name in names:
                sync_file(Path(folder, name))
            sync_folder(Path(folder))
        used_bytes = disk_bytes(self.folder)
        self.reserve(used_bytes)
        self._reservation.truncate(used_bytes)
        os.fsync(self._reservation.fileno())
        sync_folder(self.root)
        return used_bytes


class _MemberBudget:
    """Where one file of a set gets its disk space from: the space of the whole set."""

    def __init__(self, file_set: FileSet, name: str, limit_bytes: int) -> None:
        self._file_set = file_set
        self._name = name
        self._limit_bytes = limit_bytes

    def grow(self, file: BinaryIO, size_bytes: int) -> None:
        """Set the length of the file to `size_bytes`."""
        self._file_set.grow_member(file, self._name, size_bytes, self._limit_bytes)


def disk_bytes(folder: Path) -> int:
    """Return the bytes of disk that the files below `folder` take.

    Holes take none. A file that is removed meanwhile does not count.
    """
    used_blocks = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                used_blocks += Path(path, name).lstat().st_blocks
    return used_blocks * _BLOCK_BYTES
