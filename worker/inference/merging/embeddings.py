"""Turns the vectors of tiles into squares that carry them."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from worker.algorithms.answer_error import AlgorithmAnswerError
from worker.algorithms.interface import TileClassifier
from worker.algorithms.output_settings import EmbeddingsSettings
from worker.geometry.frame import Frame
from worker.geometry.tile_grid import Grid, Tile
from worker.inference.merging.merger import Merged, SeamState
from worker.results.embeddings import Embeddings
from worker.results.object_store import ObjectStore
from worker.results.objects import Objects
from worker.results.words import counted

_WHITE: Final = 255


class TileEmbeddings:
    """Makes a square of each tile, with its vector. No tile depends on another."""

    seams: SeamState = ()

    def __init__(
        self,
        grid: Grid,
        frame: Frame,
        classifier: TileClassifier,
        settings: EmbeddingsSettings,
        encoder: str,
    ) -> None:
        """`encoder` is the name of the algorithm whose vectors these are."""
        self._grid = grid
        self._frame = frame
        self._classifier = classifier
        self._settings = settings
        self._encoder = encoder
        self._dimensions: int | None = None
        size = (grid.tile_px * grid.downsample_x, grid.tile_px * grid.downsample_y)
        self._corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * size

    def place(self, tiles: Sequence[Tile], answers: NDArray[np.float32]) -> Objects:
        """Return one square in level-0 pixels for each tile, with its vector of (N, D).

        Raises AlgorithmAnswerError where D is not that of the tiles before.
        """
        if self._dimensions is None:
            self._dimensions = answers.shape[1]
        elif answers.shape[1] != self._dimensions:
            raise self._uneven(answers.shape[1], self._dimensions)
        top_left = np.array([(tile.x, tile.y) for tile in tiles])
        outlines = top_left[:, None] + self._corners
        return Objects(
            centres=outlines.mean(axis=1),
            outlines=tuple(outlines),
            classes=np.zeros(len(tiles), np.int64),
            scores=np.ones(len(tiles)),
            features=answers,
        )

    def finish(self, found: ObjectStore) -> Merged:
        """Return the squares as they were placed, and the figures of the whole area."""
        embeddings = self.embeddings(found)
        figures = {"tiles": len(found), "dimensions": embeddings.dimensions, **self.figures()}
        tiles = counted(len(found), "tile")
        headline = f"{tiles}, a vector of {embeddings.dimensions} numbers for each"
        if not len(found):
            headline = "no tissue found"
        return Merged(found, figures, headline, embeddings=embeddings)

    def embeddings(self, found: ObjectStore) -> Embeddings:
        """Return the stored squares with what files say about their vectors.

        Raises AlgorithmAnswerError where their vectors are not all of one length.
        """
        dimensions = self._stored_dimensions(found)
        return Embeddings(
            found, dimensions, self._settings.store, self._encoder, self._settings.squares
        )

    def figures(self) -> dict[str, Any]:
        """Return the area in square millimetres and the precision of the encoder."""
        return self._classifier.summarise((), self._frame, self._grid.area)[0]

    def _stored_dimensions(self, found: ObjectStore) -> int:
        """Return D; where no tile was read, the encoder is asked with a white one."""
        if not len(found):
            edge = self._grid.read_px
            blank = np.full((1, edge, edge, 3), _WHITE, np.uint8)
            answer: Any = self._classifier.classify(blank)
            return int(answer.shape[1])
        dimensions = found.width("features")
        # tiles before a loss may have had another length
        if self._dimensions is not None and dimensions != self._dimensions:
            raise self._uneven(self._dimensions, dimensions)
        return dimensions

    @staticmethod
    def _uneven(dimensions: int, before: int) -> AlgorithmAnswerError:
        return AlgorithmAnswerError(
            f"embeddings: outputs.features has {dimensions} numbers for a tile, and {before} for "
            "others"
        )
