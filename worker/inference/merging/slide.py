"""Classifies a slide by the vectors of its tiles, once all of them are there."""

import shutil
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from worker.algorithms.interface import SlideAlgorithm, TilePlaces
from worker.geometry.frame import Ints
from worker.geometry.tile_grid import Grid, Tile
from worker.inference.merging.embeddings import TileEmbeddings
from worker.inference.merging.merger import Merged, SeamState
from worker.inference.merging.slide_answer import BagAnswer, ask, evenly_spaced, store_measured
from worker.inference.merging.slide_summary import (
    Judgement,
    case_summary,
    headline,
    left_out,
    scan_summary,
)
from worker.results.files.embeddings_h5 import patch_px_level0, seen_corners
from worker.results.object_store import ObjectStore
from worker.results.objects import Objects

_FOLDER: Final = "attention"
"""The folder of the squares with their attention, beside that of the vectors."""


class SlideMerger:
    """Keeps the vectors of all tiles, asks the network for slides, and keeps its attention."""

    seams: SeamState = ()

    def __init__(self, grid: Grid, encoded: TileEmbeddings, algorithm: SlideAlgorithm) -> None:
        """`encoded` places the tiles with the vectors of the algorithm's encoder."""
        self._grid = grid
        self._encoded = encoded
        self._algorithm = algorithm

    def place(self, tiles: Sequence[Tile], answers: NDArray[np.float32]) -> Objects:
        """Return one square for each tile, with its vector."""
        return self._encoded.place(tiles, answers)

    def finish(self, found: ObjectStore) -> Merged:
        """Return the class of the slide and, where the network answers it, its attention.

        The objects are the squares of the tiles that it was given, with the measurements
        `attention` and `attention_rank`; none without attention.

        Raises AlgorithmAnswerError where the network's answer is none.
        """
        card = self._algorithm.card
        settings = self._algorithm.settings
        embeddings = self._encoded.embeddings(found)
        squares = _squares_beside(found)
        chosen = evenly_spaced(len(found), settings.max_tiles)
        judgement = Judgement(1, 0)
        if len(chosen):
            answer = self._ask(found, chosen)
            judgement = answer.judgement
            if answer.measured is not None:
                store_measured(squares, found, chosen, answer.measured)
        return Merged(
            squares,
            self._summary(judgement),
            headline(card, judgement, settings),
            left_out(len(found), len(chosen)),
            embeddings,
        )

    def _summary(self, judgement: Judgement) -> dict[str, Any]:
        card = self._algorithm.card
        precision = self._encoded.figures()["precision"]
        if self._algorithm.settings.scope == "case":
            return case_summary(card, judgement, judgement.tiles, precision)
        return scan_summary(card, judgement, precision)

    def _ask(self, found: ObjectStore, chosen: Ints) -> BagAnswer:
        """Return what the network answers for the chosen tiles of the store."""
        features = found.mapped_features()
        if len(chosen) < len(found):
            features = features[chosen]
        downsample = (self._grid.downsample_x, self._grid.downsample_y)
        corners = np.concatenate(
            [[outline[0] for outline in chunk.outlines] for chunk in found.chunks()]
        )
        seen = seen_corners(corners[chosen], self._grid.halo_px, downsample)
        places = TilePlaces(seen, patch_px_level0(self._grid.read_px, downsample))
        return ask(self._algorithm, features, places, scans=1)


def _squares_beside(found: ObjectStore) -> ObjectStore:
    """Return an empty store beside the one with the vectors."""
    folder = found.folder.with_name(_FOLDER)
    shutil.rmtree(folder, ignore_errors=True)  # of a finish that was lost
    return ObjectStore.begin(folder)
