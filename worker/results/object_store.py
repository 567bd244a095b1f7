"""Stores objects in files, appended tile by tile and read in chunks, in a constant memory.

A folder holds one file for each column, little-endian, without a header:

    centres  (N, 2) float64        lengths  (N,) uint32: points of each outline
    scores   (N,) float64          points   (sum of lengths, 2) float64
    classes  (N,) uint16           probabilities  (N, classes) float32, or nothing
                                   measurements   (N, M) float32, or nothing

Folders of older versions have no file `measurements`.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

import numpy as np
from numpy.typing import NDArray

from worker.disk import sync_file, sync_folder
from worker.results.objects import CHUNK, Objects, outlines

_TYPES: Final = {
    "centres": "<f8",
    "scores": "<f8",
    "classes": "<u2",
    "lengths": "<u4",
    "points": "<f8",
    "probabilities": "<f4",
    "measurements": "<f4",
}


class ObjectStore:
    """The objects in a folder. A reader sees everything that was appended before."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def begin(cls, folder: Path) -> Self:
        """Create an empty store. Raises FileExistsError where the folder exists."""
        folder.mkdir(parents=True)
        for name in _TYPES:
            (folder / name).touch()
        return cls(folder)

    def __len__(self) -> int:
        return (self.folder / "classes").stat().st_size // _item_bytes("classes")

    def append(self, objects: Objects) -> None:
        """Write the objects behind those that are stored."""
        columns: dict[str, NDArray[Any]] = {
            "centres": objects.centres,
            "scores": objects.scores,
            "classes": objects.classes,
            "lengths": np.array([len(outline) for outline in objects.outlines]),
            "points": np.concatenate([np.empty((0, 2)), *objects.outlines]),
            "probabilities": objects.probabilities,
            "measurements": objects.measurements,
        }
        for name, values in columns.items():
            with (self.folder / name).open("ab") as file:
                file.write(values.astype(_TYPES[name]).tobytes())

    def copy(self, other: Self, count: int) -> None:
        """Replace the content with the first `count` objects of another store.

        Raises ValueError where the other store has fewer objects or one of its files is too short.
        """
        if len(other) < count:
            raise ValueError(f"{count} objects are requested of a store of {len(other)}")
        lengths = np.fromfile(other.folder / "lengths", _TYPES["lengths"], count)
        values = dict.fromkeys(_TYPES, count)
        values["centres"] = 2 * count
        values["points"] = 2 * int(lengths.sum(dtype=np.int64))
        values["probabilities"] = other.width("probabilities") * count
        values["measurements"] = other.width("measurements") * count
        for name in _TYPES:
            size_bytes = values[name] * _item_bytes(name)
            with (
                (other.folder / name).open("rb") as source,
                (self.folder / name).open("wb") as target,
            ):
                shutil.copyfileobj(source, target)
                if target.tell() < size_bytes:
                    raise ValueError(f"{name} ends before object {count}")
                target.truncate(size_bytes)

    def chunks(self) -> Iterator[Objects]:
        """Yield all objects in order, at most `CHUNK` at a time, exactly as they were appended."""
        widths = {name: self.width(name) for name in ("probabilities", "measurements")}
        with ExitStack() as stack:
            files: dict[str, BinaryIO] = {}
            for name in _TYPES:
                if widths.get(name) != 0:
                    files[name] = stack.enter_context((self.folder / name).open("rb"))
            while chunk := _read_chunk(files, widths):
                yield chunk

    def width(self, name: str) -> int:
        """Return how many `probabilities` or `measurements` each object has."""
        column = self.folder / name
        if not len(self) or not column.exists():
            return 0
        return column.stat().st_size // (len(self) * _item_bytes(name))

    def counts(self, classes: int) -> list[int]:
        """Return how many objects each of the first `classes` classes has."""
        total = np.zeros(classes, np.int64)
        with (self.folder / "classes").open("rb") as file:
            while len(numbers := np.fromfile(file, _TYPES["classes"], CHUNK)):
                total += np.bincount(numbers, minlength=classes)
        counts: list[int] = total.tolist()
        return counts

    def sync(self) -> None:
        """Write the files and the folder through to the disk."""
        for name in _TYPES:
            sync_file(self.folder / name)
        sync_folder(self.folder)


def _item_bytes(name: str) -> int:
    return np.dtype(_TYPES[name]).itemsize


def _read_chunk(files: Mapping[str, BinaryIO], widths: Mapping[str, int]) -> Objects | None:
    """Return the next `CHUNK` objects, or None after the last one.

    A column of width 0 has no file.
    """
    classes = np.fromfile(files["classes"], _TYPES["classes"], CHUNK)
    count = len(classes)
    if not count:
        return None
    lengths = np.fromfile(files["lengths"], _TYPES["lengths"], count)
    centres = np.fromfile(files["centres"], _TYPES["centres"], 2 * count)
    scores = np.fromfile(files["scores"], _TYPES["scores"], count)
    points = np.fromfile(files["points"], _TYPES["points"], 2 * int(lengths.sum()))
    tables = {name: np.empty((count, width)) for name, width in widths.items()}
    for name, width in widths.items():
        if width:
            values = np.fromfile(files[name], _TYPES[name], width * count)
            tables[name] = values.reshape(count, width).astype(np.float64)
    return Objects(
        centres.reshape(-1, 2),
        tuple(outlines(points.reshape(-1, 2), lengths.tolist())),
        classes.astype(np.int64),
        scores,
        tables["probabilities"],
        tables["measurements"],
    )
