"""Where results and parcels are kept, for every machine of the service: a folder, or an S3-compatible bucket.

Owns what a storage is and which one the settings name. Must not know what is in its files, nor any order's state.

A key is a path below the storage, like `results/ORDER/0.3/overlay.png`; the record holds keys, never places. What a key
stands for is made at `folder / key` on this machine, whole, and then `share`d. Only after that the record names it, so
what nobody has finished is never looked for.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from broker.errors import TemporaryError
from broker.settings.config import BrokerSettings, ConfigError

RESULTS, PARCELS = "results", "parcels"
_PIECE_BYTES = 2**22
Told = Callable[[int, int], object]
"""Hears how many bytes of how many are shared; what it raises ends the sharing."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One file of the storage. `path`: where it lies on this machine, None where its bytes come from elsewhere."""

    size_bytes: int
    tag: str
    """Changes with the content; quoted, as HTTP wants it."""
    path: Path | None = None


class Storage(Protocol):
    """Results and parcels by key. Every method raises `TemporaryError` where the storage does not do what is asked."""

    @property
    def folder(self) -> Path:
        """Where things are made on this machine, and where its unfinished work lies."""

    def share(self, key: str, told: Told) -> None:
        """Let every machine find the file or folder that was made, whole, at `folder / key`."""

    def near(self, key: str) -> AbstractContextManager[Path]:
        """The file or folder as one on this machine's disk, with the key's last name. It must be there."""

    def find(self, key: str) -> Stored | None:
        """The file at `key`, or None where there is none."""

    def read(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """The bytes from `start` up to, not including, `end`: some at a time."""

    def forget(self, order_id: str) -> None:
        """Remove what was shared of an order."""

    def left_behind(self) -> Iterator[str]:
        """Orders of which this machine alone still holds something that was never shared."""


def checked(key: str) -> str:
    """The key again. Raises `ValueError` for one that could lead out of the storage."""
    if not re.fullmatch(r"(?!.*(^|/)\.{1,2}(/|$))[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*", key):
        raise ValueError("a key of the storage is names with slashes between them")
    return key


def pieces(start: int, end: int) -> Iterator[tuple[int, int]]:
    """The range, cut into what is held in memory at a time."""
    for at in range(start, end, _PIECE_BYTES):
        yield at, min(at + _PIECE_BYTES, end)


def unreachable(what: str, hint: str = "the work goes on by itself once it does") -> TemporaryError:
    """The storage fails, whoever is to blame for that."""
    return TemporaryError("storage_unreachable", what, hint=hint)


class Folder:
    """A folder that all machines see at once, or this machine alone. What is made in it is shared by that."""

    def __init__(self, root: Path, *, mounted: bool) -> None:
        self._root, self._mounted = root, mounted

    @property
    def folder(self) -> Path:
        """The folder itself. One that is `mounted` is never made: below its mount point the wrong disk would fill."""
        if self._mounted and not self._root.is_dir():
            raise unreachable(f"the folder {self._root} is not there", "mount it; the work goes on by itself then")
        return self._root

    def share(self, key: str, told: Told) -> None:
        """Nothing is left to do."""

    @contextmanager
    def near(self, key: str) -> Iterator[Path]:
        """Where it lies."""
        path = self.folder / checked(key)
        if not path.exists():
            raise unreachable(f"the storage has no {key}, which the record names", "put it back, or cancel the order")
        yield path

    def find(self, key: str) -> Stored | None:
        """Asks the file system."""
        path = self.folder / checked(key)
        try:
            if not path.is_file():
                return None
            told = path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unreachable(f"the folder {self._root} cannot be read ({error.strerror})") from None
        return Stored(told.st_size, f'"{told.st_mtime_ns:x}-{told.st_size:x}"', path)

    def read(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """Straight from the file."""
        with (self.folder / checked(key)).open("rb") as file:
            file.seek(start)
            for at, until in pieces(start, end):
                yield file.read(until - at)

    def forget(self, order_id: str) -> None:
        """It goes with what lies in `folder`."""

    def left_behind(self) -> Iterator[str]:
        """What lies here lies where it belongs."""
        return iter(())


def storage(settings: BrokerSettings) -> Storage:
    """The storage of the settings. Raises `ConfigError` where it cannot be one; asks no server."""
    named = settings.storage
    if named is None:
        return Folder(settings.data, mounted=False)
    if "://" in named:
        from broker.file_storage.s3 import Bucket

        return Bucket(named, settings.data / "unsent")
    if not Path(named).is_dir():
        raise ConfigError(f"broker.storage: there is no folder {named}; make or mount it first")
    return Folder(Path(named), mounted=True)
