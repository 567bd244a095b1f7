"""Objects in files: appended tile by tile, read again some at a time, so that memory does not grow with their number.

Owns the files' layout: one file per column, little-endian, without a header.

    centres  (N, 2) float64        lengths  (N,) uint32: points of each outline
    scores   (N,) float64          points   (sum of lengths, 2) float64
    classes  (N,) uint16           probabilities  (N, classes) float32, or nothing
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

import numpy as np
from numpy.typing import NDArray

from worker.results.objects import CHUNK, Objects, outlines

_TYPES: Final = {"centres": "<f8", "scores": "<f8", "classes": "<u2", "lengths": "<u4", "points": "<f8",
                 "probabilities": "<f4"}  # fmt: skip


class ObjectStore:
    """The objects in a folder. Whoever reads sees what was appended before."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def begin(cls, folder: Path) -> Self:
        """A new one without objects; `folder` must not exist."""
        folder.mkdir(parents=True)
        for name in _TYPES:
            (folder / name).touch()
        return cls(folder)

    def __len__(self) -> int:
        return (self.folder / "classes").stat().st_size // np.dtype(_TYPES["classes"]).itemsize

    def append(self, objects: Objects) -> None:
        """Put these behind what is there."""
        columns: dict[str, NDArray[Any]] = {
            "centres": objects.centres,
            "scores": objects.scores,
            "classes": objects.classes,
            "lengths": np.array([len(outline) for outline in objects.outlines]),
            "points": np.concatenate([np.empty((0, 2)), *objects.outlines]),
            "probabilities": objects.probabilities,
        }
        for name, values in columns.items():
            with (self.folder / name).open("ab") as file:
                file.write(values.astype(_TYPES[name]).tobytes())

    def copy(self, other: Self, count: int) -> None:
        """Hold the first `count` objects of another spool, and nothing else. Raises `ValueError` where it has fewer."""
        if len(other) < count:
            raise ValueError(f"{count} objects are wanted of a spool of {len(other)}")
        lengths = np.fromfile(other.folder / "lengths", _TYPES["lengths"], count)
        rows = {"centres": 2 * count, "points": 2 * int(lengths.sum(dtype=np.int64))}
        rows |= {"probabilities": other.width * count}
        for name, kind in _TYPES.items():
            size_bytes = rows.get(name, count) * np.dtype(kind).itemsize
            with (
                (other.folder / name).open("rb") as theirs,
                (self.folder / name).open("wb") as ours,
            ):
                shutil.copyfileobj(theirs, ours)
                if ours.tell() < size_bytes:
                    raise ValueError(f"{name} ends before object {count}")
                ours.truncate(size_bytes)

    def chunks(self) -> Iterator[Objects]:
        """All objects in order, at most `CHUNK` at a time, to the last bit as they were appended."""
        with ExitStack() as files:
            open_files = {
                name: files.enter_context((self.folder / name).open("rb")) for name in _TYPES
            }
            width = self.width
            while chunk := _next(open_files, width):
                yield chunk

    @property
    def width(self) -> int:
        """How many probabilities each object has."""
        count_bytes = len(self) * np.dtype(_TYPES["probabilities"]).itemsize
        return (self.folder / "probabilities").stat().st_size // count_bytes if count_bytes else 0

    def counts(self, classes: int) -> list[int]:
        """How many objects each of the first `classes` classes has."""
        total = np.zeros(classes, np.int64)
        with (self.folder / "classes").open("rb") as file:
            while len(some := np.fromfile(file, _TYPES["classes"], CHUNK)):
                total += np.bincount(some, minlength=classes)
        counts: list[int] = total.tolist()
        return counts

    def settle(self) -> None:
        """Bring the files safely to the disk."""
        for path in (*(self.folder / name for name in _TYPES), self.folder):
            number = os.open(path, os.O_RDONLY)
            os.fsync(number)
            os.close(number)


def _next(files: Mapping[str, BinaryIO], width: int) -> Objects | None:
    classes = np.fromfile(files["classes"], _TYPES["classes"], CHUNK)
    count = len(classes)
    lengths = np.fromfile(files["lengths"], _TYPES["lengths"], count)
    points = np.fromfile(files["points"], _TYPES["points"], 2 * int(lengths.sum())).reshape(-1, 2)
    centres = np.fromfile(files["centres"], _TYPES["centres"], 2 * count).reshape(-1, 2)
    scores = np.fromfile(files["scores"], _TYPES["scores"], count)
    probabilities = np.fromfile(
        files["probabilities"], _TYPES["probabilities"], width * count
    ).reshape(count, width)
    whole = classes.astype(np.int64), scores, probabilities.astype(np.float64)
    return Objects(centres, tuple(outlines(points, lengths.tolist())), *whole) if count else None
