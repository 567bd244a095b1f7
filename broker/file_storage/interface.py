"""What a storage for results and payloads is. Knows neither the content of files nor orders.

A key is a path below the storage, like `results/ORDER/0.3/overlay.png`. The record of an order
holds keys, never places. A file or folder is first made at `folder / key` on this machine, whole,
and then passed to `share`. Only after that the record names it, so nobody looks for anything
unfinished.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from broker.errors import TemporaryError

RESULTS = "results"
PAYLOADS = "parcels"
"""The folder of the payloads, whose name is older than the word."""

OnProgress = Callable[[int, int], object]
"""Called with the number of bytes shared and of all bytes; what it raises ends the sharing."""

_READ_BYTES = 2**22
_KEY = re.compile(r"(?!.*(^|/)\.{1,2}(/|$))[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of the storage. `path` is None where it is not on a disk of this machine."""

    size_bytes: int
    tag: str
    """Changes with the content; in quotes, as HTTP's ETag."""
    path: Path | None = None


class Storage(Protocol):
    """Results and payloads by key.

    Every method raises `TemporaryError("storage_unreachable")` where the storage fails.
    """

    @property
    def folder(self) -> Path:
        """The folder of this machine in which files are made, and unfinished ones are."""

    def share(self, key: str, on_progress: OnProgress) -> None:
        """Make the file or folder at `folder / key`, which is complete, visible to all machines."""

    def local_copy(self, key: str) -> AbstractContextManager[Path]:
        """Return a context with the path of the file or folder on this machine's disk.

        The path ends with the last name of the key. The file or folder must be in the storage.
        """

    def find(self, key: str) -> StoredFile | None:
        """Return the file at `key`, or None where there is none."""

    def read(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes from `start` up to, not including, `end`, in several parts."""

    def remove(self, key: str) -> None:
        """Delete the file or folder at `key`, which no record names any more."""

    def delete(self, order_id: str) -> None:
        """Delete what was shared of an order."""

    def unshared_orders(self) -> Iterator[str]:
        """Yield the ids of orders of which something was never shared and is on this machine."""


def checked_key(key: str) -> str:
    """Return the key. Raise `ValueError` for one that could lead out of the storage."""
    if not _KEY.fullmatch(key):
        raise ValueError("a key of the storage is names with slashes between them")
    return key


def byte_ranges(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of a range that are held in memory one after the other: start and end."""
    for first in range(start, end, _READ_BYTES):
        yield first, min(first + _READ_BYTES, end)


def unreachable(
    detail: str, hint: str = "the work goes on by itself once it does"
) -> TemporaryError:
    """Return the error for a storage that fails."""
    return TemporaryError("storage_unreachable", detail, hint=hint)


def missing(key: str) -> TemporaryError:
    """Return the error for a file that a record names and the storage does not have."""
    return unreachable(
        f"the storage has no {key}, which the record names", "put it back, or cancel the order"
    )
