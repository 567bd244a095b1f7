"""Stores objects in files, appended tile by tile and read in chunks, in a constant memory.

A folder holds one file for each column, little-endian, without a header:

    centres  (N, 2) float64        lengths  (N,) uint32: points of each outline
    scores   (N,) float64          points   (sum of lengths, 2) float64
    classes  (N,) uint16           probabilities  (N, classes) float32, or nothing
                                   measurements   (N, M) float32, or nothing
                                   features       (N, D) float32, or nothing
    holes         (N,) uint32: holes of each object, or nothing where no object has any
    hole_lengths  (sum of holes,) uint32: points of each hole
    hole_points   (sum of hole_lengths, 2) float64

A column that may hold nothing has no file until it holds something: to make an empty file and to
sync it takes as long as for a full one. Folders of older versions have empty files there.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

import numpy as np
from numpy.typing import NDArray

from worker.disk import sync_file, sync_folder
from worker.geometry.frame import Floats
from worker.results.objects import CHUNK, Objects, outlines

_TYPES: Final = {
    "centres": "<f8",
    "scores": "<f8",
    "classes": "<u2",
    "lengths": "<u4",
    "points": "<f8",
    "probabilities": "<f4",
    "measurements": "<f4",
    "features": "<f4",
    "holes": "<u4",
    "hole_lengths": "<u4",
    "hole_points": "<f8",
}
_ALWAYS: Final = ("centres", "scores", "classes", "lengths", "points")
"""The columns that have a file even without objects."""
_TABLES: Final = ("probabilities", "measurements", "features")
_READ_TABLES: Final = ("probabilities", "measurements")
_HOLES: Final = ("holes", "hole_lengths", "hole_points")


class ObjectStore:
    """The objects in a folder. A reader sees everything that was appended before."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def begin(cls, folder: Path) -> Self:
        """Create an empty store. Raises FileExistsError where the folder exists."""
        folder.mkdir(parents=True)
        for name in _ALWAYS:
            (folder / name).touch(exist_ok=False)
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
            "features": objects.features,
            **self._hole_columns(objects),
        }
        for name, values in columns.items():
            if values.size:
                with (self.folder / name).open("ab") as file:
                    file.write(values.astype(_TYPES[name]).tobytes())

    def _hole_columns(self, objects: Objects) -> dict[str, NDArray[Any]]:
        """Return the columns of the holes, empty as long as no object of the store has any."""
        holes = objects.holes
        earlier = 0
        if holes and not self.has_holes:
            earlier = len(self)
        elif not holes and self.has_holes:
            holes = ((),) * len(objects)
        counts = [0] * earlier + [len(rings) for rings in holes]
        rings = [ring for one in holes for ring in one]
        return {
            "holes": np.array(counts),
            "hole_lengths": np.array([len(ring) for ring in rings]),
            "hole_points": np.concatenate([np.empty((0, 2)), *rings]),
        }

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
        for name in _TABLES:
            values[name] = other.width(name) * count
        values |= other.hole_values(count)
        for name in _TYPES:
            size_bytes = values[name] * _item_bytes(name)
            if not size_bytes:
                self._empty(name)
                continue
            with (
                (other.folder / name).open("rb") as source,
                (self.folder / name).open("wb") as target,
            ):
                shutil.copyfileobj(source, target)
                if target.tell() < size_bytes:
                    raise ValueError(f"{name} ends before object {count}")
                target.truncate(size_bytes)

    def chunks(self) -> Iterator[Objects]:
        """Yield all objects in order, at most `CHUNK` at a time, exactly as they were appended.

        Their `features` are left out, which are a hundred times as large as all the rest.
        """
        widths = {name: self.width(name) for name in _READ_TABLES}
        left_out = {name for name in _READ_TABLES if not widths[name]}
        left_out.add("features")
        if not self.has_holes:
            left_out.update(_HOLES)
        with ExitStack() as stack:
            files: dict[str, BinaryIO] = {}
            for name in _TYPES:
                if name not in left_out:
                    files[name] = stack.enter_context((self.folder / name).open("rb"))
            while chunk := _read_chunk(files, widths):
                yield chunk

    def feature_chunks(self) -> Iterator[NDArray[np.float32]]:
        """Yield the vectors of all objects in order, at most `CHUNK` at a time, (N, D) each."""
        width = self.width("features")
        if not width:
            return
        with (self.folder / "features").open("rb") as file:
            while len(values := np.fromfile(file, _TYPES["features"], CHUNK * width)):
                yield values.reshape(-1, width)

    def mapped_features(self) -> NDArray[np.float32]:
        """Return the vectors of all objects, (N, D), as a private copy of the mapped file.

        What is written to it stays in memory. Raises ValueError where an object has no vector.
        """
        count = len(self)
        width = self.width("features")
        column = self.folder / "features"
        if not width or column.stat().st_size != count * width * _item_bytes("features"):
            raise ValueError(f"{column} does not hold a vector for each of {count} objects")
        return np.memmap(column, _TYPES["features"], "c", shape=(count, width))

    def mapped(self, name: str) -> NDArray[Any]:
        """Return all values of a column, one behind another, mapped and not to be written.

        It is empty where the store has no such column.
        """
        column = self.folder / name
        if not column.exists() or not column.stat().st_size:
            return np.empty(0, _TYPES[name])
        # a plain array: parts of a memmap are made four times as slowly
        return np.memmap(column, _TYPES[name], "r").view(np.ndarray)

    def drop_features(self) -> None:
        """Remove the vectors of all objects, which are kept somewhere else."""
        self._empty("features")

    def width(self, name: str) -> int:
        """Return how many `probabilities`, `measurements` or `features` each object has."""
        column = self.folder / name
        if not len(self) or not column.exists():
            return 0
        return column.stat().st_size // (len(self) * _item_bytes(name))

    @property
    def has_holes(self) -> bool:
        """Whether an object may have holes."""
        column = self.folder / "holes"
        return column.exists() and column.stat().st_size > 0

    def hole_values(self, count: int) -> dict[str, int]:
        """Return how many numbers describe the holes of the first `count` objects, by file."""
        if not self.has_holes:
            return dict.fromkeys(_HOLES, 0)
        holes = np.fromfile(self.folder / "holes", _TYPES["holes"], count)
        if len(holes) < count:
            raise ValueError(f"holes ends before object {count}")
        rings = int(holes.sum(dtype=np.int64))
        lengths = np.fromfile(self.folder / "hole_lengths", _TYPES["hole_lengths"], rings)
        points = int(lengths.sum(dtype=np.int64))
        return {"holes": count, "hole_lengths": rings, "hole_points": 2 * points}

    def counts(self, classes: int) -> list[int]:
        """Return how many objects each of the first `classes` classes has."""
        total = np.zeros(classes, np.int64)
        with (self.folder / "classes").open("rb") as file:
            while len(numbers := np.fromfile(file, _TYPES["classes"], CHUNK)):
                total += np.bincount(numbers, minlength=classes)[:classes]
        counts: list[int] = total.tolist()
        return counts

    def sync(self) -> None:
        """Write the files and the folder through to the disk."""
        for name in _TYPES:
            column = self.folder / name
            if name in _ALWAYS or column.exists():
                sync_file(column)
        sync_folder(self.folder)

    def _empty(self, name: str) -> None:
        """Remove the content of a column."""
        column = self.folder / name
        if name in _ALWAYS:
            column.write_bytes(b"")
        else:
            column.unlink(missing_ok=True)


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
        holes=_read_holes(files, count),
    )


def _read_holes(files: Mapping[str, BinaryIO], count: int) -> tuple[tuple[Floats, ...], ...]:
    """Return the holes of the next `count` objects; nothing where the store has none."""
    if "holes" not in files:
        return ()
    counts = np.fromfile(files["holes"], _TYPES["holes"], count).tolist()
    lengths = np.fromfile(files["hole_lengths"], _TYPES["hole_lengths"], sum(counts))
    points = np.fromfile(files["hole_points"], _TYPES["hole_points"], 2 * int(lengths.sum()))
    rings = outlines(points.reshape(-1, 2), lengths.tolist())
    return tuple(tuple(islice(rings, holes)) for holes in counts)
