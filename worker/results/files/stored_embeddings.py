"""Reads the vectors of an embeddings.h5 that an earlier attempt of ours wrote."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import h5py
import numpy as np
from numpy.typing import NDArray

from worker.results.objects import CHUNK, Objects, ObjectSource

_TYPES: Final = ("float32", "float16")


class StoredEmbeddings:
    """The tiles of a scan with their vectors, in the order of embeddings.h5: an `ObjectSource`."""

    def __init__(self, file: Path, squares: ObjectSource) -> None:
        """`squares` are the tiles of the vectors in `file`.

        Raises ValueError where the file is damaged, or has not one vector for each square.
        """
        self._file = file
        self._squares = squares
        self.dimensions = _dimensions(file, len(squares))
        """How many numbers a vector has."""

    def __len__(self) -> int:
        return len(self._squares)

    def chunks(self) -> Iterator[Objects]:
        """Yield the squares in order, at most `CHUNK` at a time, without their vectors."""
        return self._squares.chunks()

    def feature_chunks(self) -> Iterator[NDArray[np.float32]]:
        """Yield the vectors in order, at most `CHUNK` at a time, (N, D) each."""
        with h5py.File(self._file, "r") as source:
            features = source["features"]
            for start in range(0, len(self), CHUNK):
                yield features[start : start + CHUNK].astype(np.float32)

    def counts(self, classes: int) -> list[int]:
        """Return how many tiles each of the first `classes` classes has."""
        return self._squares.counts(classes)


def _dimensions(file: Path, tiles: int) -> int:
    """Return D of the file's (T, D) vectors. Raises ValueError where they are not as expected."""
    try:
        with h5py.File(file, "r") as source:
            features = source["features"]
            shape = features.shape
            kind = str(features.dtype)
            stored_bytes = features.id.get_storage_size()
            item_bytes = features.dtype.itemsize
    except (OSError, KeyError, AttributeError) as error:
        raise ValueError(f"it cannot be read ({type(error).__name__})") from None
    if len(shape) != 2 or shape[0] != tiles or kind not in _TYPES:
        raise ValueError(f"it holds {kind} {shape} for {tiles} tiles")
    # A file may state any shape; what it does not hold would be read as zeros.
    if stored_bytes != tiles * shape[1] * item_bytes:
        raise ValueError(f"it holds {stored_bytes} bytes for {shape}")
    return int(shape[1])
