"""Turns classified tiles into square objects."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from broker.orders.algorithm_card import AlgorithmCard
from worker.algorithms.output_settings import TilesSettings
from worker.geometry.frame import Floats, Ints
from worker.geometry.tile_grid import Grid, Tile, Tiles
from worker.inference.merging.merger import Merged, SeamState
from worker.inference.merging.single_objects import begin_beside
from worker.results.object_store import ObjectStore
from worker.results.objects import Objects

_ONE_CLASS_THRESHOLD = 0.5


class TileSquares:
    """Makes a square of each tile; smooths and selects them once all tiles are there.

    It remembers nothing from tile to tile. Shares of classes count tiles of the background too,
    and those that a single class is not likely enough in, whether they are delivered or not.
    """

    seams: SeamState = ()

    def __init__(self, grid: Grid, card: AlgorithmCard, settings: TilesSettings) -> None:
        size = (grid.tile_px * grid.downsample_x, grid.tile_px * grid.downsample_y)
        self._corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * size
        self._tiles = grid.tiles
        self._smooth = settings.smooth
        self._keeps_background = settings.keep_background
        self._threshold = settings.threshold
        self._background: int | None = None
        for number, entry in enumerate(card.classes):
            if entry.background:
                self._background = number
        self._classes = len(card.classes)
        if self._classes == 1 and self._threshold is None:
            self._threshold = _ONE_CLASS_THRESHOLD

    def place(self, tiles: Sequence[Tile], probabilities: Floats) -> Objects:
        """Return one square in level-0 pixels for each tile, of its likeliest class.

        `probabilities` has shape (N, classes).
        """
        top_left = np.array([(tile.x, tile.y) for tile in tiles])
        outlines = top_left[:, None] + self._corners
        return Objects(
            centres=outlines.mean(axis=1),
            outlines=tuple(outlines),
            classes=probabilities.argmax(axis=1),
            scores=probabilities.max(axis=1),
            probabilities=probabilities,
        )

    def finish(self, found: ObjectStore) -> Merged:
        """Return the squares with smoothed probabilities, without those that are left out."""
        if not self._changes_squares():
            return Merged(found, counts=self._counts_of_one_class(found, len(found)))
        store = begin_beside(found, "squares")
        counts = np.zeros(self._classes, np.int64)
        probabilities = self._probabilities(found)
        for chunk in found.chunks():
            classified = self._classified(chunk, next(probabilities))
            counts += classified.counts(self._classes)
            store.append(self._without_background(classified))
        headline = ""
        if self._classes == 1:
            return Merged(store, counts=self._counts_of_one_class(store, len(found)))
        if len(found) and not counts.any():
            headline = f"none of {len(found):,} tiles is of a class, with these thresholds"
        return Merged(store, headline=headline, counts=counts.tolist())

    def _counts_of_one_class(self, squares: ObjectStore, tiles: int) -> list[int] | None:
        """Return how many of the tiles are of the only class and how many are not.

        Return None where there are several classes. `squares` are all that may be of the class.
        """
        if self._classes > 1:
            return None
        of_class = 0
        for chunk in squares.chunks():
            of_class += int((~self._is_unsure(chunk.scores)).sum())
        return [of_class, tiles - of_class]

    def _is_unsure(self, scores: Floats) -> NDArray[np.bool_]:
        """Return which scores are below the threshold.

        As float32, in which a network answers: its 0.9 is no less than a threshold of 0.9.
        """
        if self._threshold is None:
            return np.zeros(len(scores), np.bool_)
        return np.asarray(scores.astype(np.float32) < np.float32(self._threshold))

    def _changes_squares(self) -> bool:
        """Return whether any square may become another one than it was placed as."""
        if self._smooth or not self._keeps_background:
            return True
        return self._threshold is not None and self._classes > 1

    def _classified(self, squares: Objects, probabilities: Floats) -> Objects:
        """Return the squares that are of a class by these probabilities, background included."""
        classes = probabilities.argmax(axis=1)
        scores = probabilities.max(axis=1)
        is_classified = np.ones(len(squares), np.bool_)
        if self._threshold is not None:
            is_unsure = self._is_unsure(scores)
            if self._classes == 1:
                is_classified = ~is_unsure | self._keeps_background
            elif self._background is None:
                is_classified = ~is_unsure
            else:
                classes[is_unsure] = self._background
                scores[is_unsure] = probabilities[is_unsure, self._background]
        changed = replace(squares, classes=classes, scores=scores, probabilities=probabilities)
        return changed.selected(is_classified)

    def _without_background(self, squares: Objects) -> Objects:
        """Return the squares that are delivered."""
        if self._keeps_background or self._background is None:
            return squares
        return squares.selected(squares.classes != self._background)

    def _probabilities(self, found: ObjectStore) -> Iterator[Floats]:
        """Yield the probabilities of the squares in each chunk of the store."""
        if not self._smooth:
            for chunk in found.chunks():
                yield chunk.probabilities
            return
        smoothed = chain.from_iterable(_smoothed(found, self._tiles, self._smooth))
        for chunk in found.chunks():
            yield np.array([next(smoothed) for _ in range(len(chunk))])


def _smoothed(found: ObjectStore, tiles: Tiles, reach: int) -> Iterator[Floats]:
    """Yield the probabilities of each row's tiles, (tiles of the row, classes), smoothed.

    Each is the mean over the tiles of the store within `reach` rows and columns. Memory holds
    2 reach + 1 rows of the grid. Sums of equal float32 numbers are exact, so places where all
    tiles agree stay as they are.
    """
    classes = found.width("probabilities")
    rows = _dense_rows(found, tiles, classes)
    nothing = np.zeros((tiles.columns, classes + 1))
    band = deque([nothing] * (reach + 1) + [next(rows, nothing) for _ in range(reach)])
    for columns in tiles.by_row():
        band.popleft()
        band.append(next(rows, nothing))
        of_rows = np.pad(sum(band, nothing), ((reach, reach), (0, 0)))
        total = sum((of_rows[columns + step] for step in range(2 * reach + 1)), 0.0 * nothing[:1])
        yield np.asarray(total[:, :classes] / total[:, classes:])


def _dense_rows(found: ObjectStore, tiles: Tiles, classes: int) -> Iterator[NDArray[np.float64]]:
    """Yield (columns, classes + 1) for each row: probabilities, and 1 where a tile was read."""
    values = chain.from_iterable(chunk.probabilities for chunk in found.chunks())
    for columns in tiles.by_row():
        yield _dense_row(values, columns, tiles.columns, classes)


def _dense_row(
    values: Iterator[Floats], filled: Ints, columns: int, classes: int
) -> NDArray[np.float64]:
    row = np.zeros((columns, classes + 1))
    for column in filled.tolist():
        row[column, :classes] = next(values)
        row[column, classes] = 1
    return row
