"""Results and payloads in a folder that all machines see, or on this machine alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from broker.file_storage.interface import OnProgress, StoredFile, checked_key, pieces, unreachable


class FolderStorage:
    """A folder that all machines see at once, or this machine alone. What is made in it is shared by that."""

    def __init__(self, root: Path, *, mounted: bool) -> None:
        self._root, self._mounted = root, mounted

    @property
    def folder(self) -> Path:
        """The folder itself. One that is `mounted` is never made: below its mount point the wrong disk would fill."""
        if self._mounted and not self._root.is_dir():
            raise unreachable(
                f"the folder {self._root} is not there", "mount it; the work goes on by itself then"
            )
        return self._root

    def share(self, key: str, told: OnProgress) -> None:
        """Nothing is left to do."""

    @contextmanager
    def near(self, key: str) -> Iterator[Path]:
        """Where it lies."""
        path = self.folder / checked_key(key)
        if not path.exists():
            raise unreachable(
                f"the storage has no {key}, which the record names",
                "put it back, or cancel the order",
            )
        yield path

    def find(self, key: str) -> StoredFile | None:
        """Asks the file system."""
        path = self.folder / checked_key(key)
        try:
            if not path.is_file():
                return None
            told = path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unreachable(
                f"the folder {self._root} cannot be read ({error.strerror})"
            ) from None
        return StoredFile(told.st_size, f'"{told.st_mtime_ns:x}-{told.st_size:x}"', path)

    def read(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """Straight from the file."""
        with (self.folder / checked_key(key)).open("rb") as file:
            file.seek(start)
            for at, until in pieces(start, end):
                yield file.read(until - at)

    def forget(self, order_id: str) -> None:
        """It goes with what lies in `folder`."""

    def left_behind(self) -> Iterator[str]:
        """What lies here lies where it belongs."""
        return iter(())
