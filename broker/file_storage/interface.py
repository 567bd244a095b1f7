"""Where results and parcels are kept, for every machine of the service: a folder, or an S3-compatible bucket.

Owns what a storage is and which one the settings name. Must not know what is in its files, nor any order's state.

A key is a path below the storage, like `results/ORDER/0.3/overlay.png`; the record holds keys, never places. What a key
stands for is made at `folder / key` on this machine, whole, and then `share`d. Only after that the record names it, so
what nobody has finished is never looked for.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from broker.errors import TemporaryError

RESULTS = "results"


PARCELS = "parcels"


_PIECE_BYTES = 2**22


OnProgress = Callable[[int, int], object]
"""Hears how many bytes of how many are shared; what it raises ends the sharing."""


@dataclass(frozen=True, slots=True)
class StoredFile:
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

    def share(self, key: str, told: OnProgress) -> None:
        """Let every machine find the file or folder that was made, whole, at `folder / key`."""

    def near(self, key: str) -> AbstractContextManager[Path]:
        """The file or folder as one on this machine's disk, with the key's last name. It must be there."""

    def find(self, key: str) -> StoredFile | None:
        """The file at `key`, or None where there is none."""

    def read(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """The bytes from `start` up to, not including, `end`: some at a time."""

    def forget(self, order_id: str) -> None:
        """Remove what was shared of an order."""

    def left_behind(self) -> Iterator[str]:
        """Orders of which this machine alone still holds something that was never shared."""


def checked_key(key: str) -> str:
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
