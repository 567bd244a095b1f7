"""Joins the vectors of all scans of a case to one bag, on the disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from broker.errors import OrderError, TemporaryError
from broker.file_storage.interface import unreachable
from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.result_files import EMBEDDINGS_H5, FINDINGS
from worker.geometry.frame import Ints, Pixels
from worker.inference.case.encoding import PICTURE, is_encoded, read_picture
from worker.inference.merging.slide_answer import evenly_spaced
from worker.progress import Progress
from worker.results import result_folder
from worker.results.files.stored_embeddings import StoredEmbeddings
from worker.results.result import Result


@dataclass(frozen=True, slots=True)
class EncodedScan:
    """A scan that is encoded for its case, on this disk.

    `result` has the squares of its tiles as objects, `tiles` has their vectors too. `picture`
    shows its area, (H, W, 3).
    """

    result: Result
    tiles: StoredEmbeddings
    folder: Path

    @classmethod
    def load(cls, folder: Path, card: AlgorithmCard) -> Self:
        """Return the scan whose result is in `folder`.

        Raise `OrderError`, `case_scans_differ`, where another network than that of the card
        encoded it, and `TemporaryError` where the storage holds something else than was written.
        """
        try:
            result = result_folder.load(folder)
        except (ValueError, FileNotFoundError) as error:
            raise _damaged(folder, FINDINGS, error) from None
        if not is_encoded(result.card) or result.card.digest != card.digest:
            raise _differs(result, card)
        try:
            tiles = StoredEmbeddings(folder / EMBEDDINGS_H5, result.findings.objects)
        except ValueError as error:
            raise _damaged(folder, EMBEDDINGS_H5, error) from None
        return cls(result, tiles, folder)

    def picture(self) -> Pixels:
        """Return the picture of the scan's area. Raise `TemporaryError` where it is damaged."""
        try:
            return read_picture(self.folder)
        except (ValueError, FileNotFoundError) as error:
            raise _damaged(self.folder, PICTURE, error) from None


@dataclass(frozen=True, slots=True)
class Bag:
    """The vectors of N tiles of several scans, (N, D), mapped from a file.

    `total` is how many tiles the scans have. `rows` holds for each scan the first and the last row
    of its tiles, half open, and `chosen` the numbers of these tiles in the scan.
    """

    features: NDArray[np.float32]
    total: int
    rows: Sequence[tuple[int, int]]
    chosen: Sequence[Ints]


def collect(scans: Sequence[EncodedScan], most: int | None, file: Path, progress: Progress) -> Bag:
    """Write the vectors of the scans into `file`, and return them.

    Of more than `most` tiles evenly spaced ones are taken. Memory does not grow with the tiles.

    Raise `OrderError`, `case_scans_differ`, where vectors of different scans differ in length, and
    OSError where the disk has no room.
    """
    dimensions = _dimensions(scans)
    bounds = np.cumsum([0, *(len(scan.tiles) for scan in scans)])
    total = int(bounds[-1])
    chosen = evenly_spaced(total, most)
    # written, not mapped: a full disk would end the process that writes to mapped memory
    with file.open("wb") as bag:
        first = 0
        for scan in scans:
            for vectors in scan.tiles.feature_chunks():
                own = _between(chosen, first, first + len(vectors))
                bag.write(vectors[own - first].astype("<f4").tobytes())
                first += len(vectors)
                progress.report("joining", first, total)
    features: NDArray[Any] = np.empty((0, dimensions), np.float32)
    if len(chosen):
        features = np.memmap(file, "<f4", "c", shape=(len(chosen), dimensions))
    rows = [tuple(np.searchsorted(chosen, pair).tolist()) for pair in pairwise(bounds)]
    of_scans = [_between(chosen, start, stop) - start for start, stop in pairwise(bounds)]
    return Bag(features, total, rows, of_scans)


def _between(chosen: Ints, start: int, stop: int) -> Ints:
    """Return the numbers from `start` up to, not including, `stop`."""
    first, last = np.searchsorted(chosen, (start, stop))
    return chosen[first:last]


def _dimensions(scans: Sequence[EncodedScan]) -> int:
    """Return the length of the vectors. Raise `OrderError` where it is not the same for all."""
    found = {scan.result.scan_id: scan.tiles.dimensions for scan in scans}
    if len(set(found.values())) > 1:
        listed = ", ".join(f"{scan_id}: {length}" for scan_id, length in sorted(found.items()))
        raise OrderError(
            "case_scans_differ",
            f"the vectors of the scans have different lengths: {listed}",
            hint="place the order again: every scan is encoded anew",
        )
    return next(iter(found.values()))


def _differs(result: Result, card: AlgorithmCard) -> OrderError:
    return OrderError(
        "case_scans_differ",
        f"scan {result.scan_id} was encoded by {result.card.name} {result.card.version} "
        f"({result.card.digest[:12]}), and the case is to be judged by {card.version} "
        f"({card.digest[:12]})",
        hint="the model was replaced while the order ran; place it again",
    )


def _damaged(folder: Path, name: str, error: Exception) -> TemporaryError:
    reason = str(error)
    if isinstance(error, FileNotFoundError):
        reason = "it is missing"
    return unreachable(
        f"{name} in the stored result {folder.name} is not what was written: {reason}",
        "put it back, or cancel the order and place it again",
    )
