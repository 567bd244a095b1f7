"""Results and payloads in a folder: one that all machines mount, or one of this machine."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from broker.file_storage.interface import (
    OnProgress,
    StoredFile,
    byte_ranges,
    checked_key,
    missing,
    unreachable,
)


class FolderStorage:
    """A folder as the storage. A file that is written there is shared already."""

    def __init__(self, root: Path, *, is_mounted: bool) -> None:
        self._root = root
        self._is_mounted = is_mounted

    @property
    def folder(self) -> Path:
        """The folder itself.

        Raise `TemporaryError` for a mounted folder that is not there. It is not made: below its
        mount point the files would fill another disk.
        """
        if self._is_mounted and not self._root.is_dir():
            raise unreachable(
                f"the folder {self._root} is not there", "mount it; the work goes on by itself then"
            )
        return self._root

    def share(self, key: str, on_progress: OnProgress) -> None:
        """Do nothing: other machines see the folder."""

    @contextmanager
    def local_copy(self, key: str) -> Iterator[Path]:
        """Yield the path of the file or folder itself."""
        path = self.folder / checked_key(key)
        if not path.exists():
            raise missing(key)
        yield path

    def find(self, key: str) -> StoredFile | None:
        """Return what the file system tells of the file at `key`, or None."""
        path = self.folder / checked_key(key)
        try:
            if not path.is_file():
                return None
            status = path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unreachable(
                f"the folder {self._root} cannot be read ({error.strerror})"
            ) from None
        tag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
        return StoredFile(status.st_size, tag, path)

    def read(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes of the file."""
        with (self.folder / checked_key(key)).open("rb") as file:
            file.seek(start)
            for first, stop in byte_ranges(start, end):
                yield file.read(stop - first)

    def remove(self, key: str) -> None:
        """Delete the file or folder. What somebody reads at the moment stays there for them."""
        path = self.folder / checked_key(key)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def delete(self, order_id: str) -> None:
        """Do nothing: the caller removes what is in `folder`."""

    def unshared_orders(self) -> Iterator[str]:
        """Yield nothing: what is in `folder` is shared."""
        return iter(())
