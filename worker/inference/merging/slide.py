"""Classifies a slide by the vectors of its tiles, once all of them are there."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.order import ScanWarning
from worker.algorithms.interface import SlideAlgorithm, SlideAnswer
from worker.algorithms.output_settings import SlideSettings
from worker.geometry.frame import Floats, Ints
from worker.geometry.tile_grid import Grid, Tile
from worker.inference.merging.embeddings import TileEmbeddings
from worker.inference.merging.merger import Merged, SeamState
from worker.progress import Progress, computing
from worker.results.files.embeddings_h5 import patch_px_level0, seen_corners
from worker.results.object_store import ObjectStore
from worker.results.objects import Objects
from worker.results.words import counted

STEP: Final = "aggregating"
"""The step in which the network is given all vectors; it cannot say how far it is."""
_FOLDER: Final = "attention"
"""The folder of the squares with their attention, beside that of the vectors."""


@dataclass(frozen=True, slots=True)
class SlideClass:
    """The number of the slide's class, or None, and of the likeliest one, with its probability."""

    number: int | None
    likeliest: int
    probability: float


class SlideMerger:
    """Keeps the vectors of all tiles, asks the network for slides, and keeps its attention."""

    seams: SeamState = ()

    def __init__(
        self, grid: Grid, encoded: TileEmbeddings, algorithm: SlideAlgorithm, progress: Progress
    ) -> None:
        """`encoded` places the tiles with the vectors of the algorithm's encoder."""
        self._grid = grid
        self._encoded = encoded
        self._algorithm = algorithm
        self._progress = progress

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
        precision = self._encoded.figures()["precision"]
        embeddings = self._encoded.embeddings(found)
        squares = _squares_beside(found)
        if not len(found):
            nothing: dict[str, Any] = _summary(card, None, None, 0, precision)
            return Merged(squares, nothing, "no tissue found", embeddings=embeddings)
        chosen = evenly_spaced(len(found), settings.max_tiles)
        self._progress.report(STEP, 0, 1)
        with computing(self._progress):
            answer = self._ask(found, chosen)
        decision = slide_class(answer.probabilities, settings.threshold)
        if answer.attention is not None:
            head = settings.attention_head
            row = attention_row(answer.attention, head, len(card.classes), decision.likeliest)
            _store_attention(squares, found, chosen, row)
        return Merged(
            squares,
            _summary(card, decision, answer.probabilities, len(chosen), precision),
            _headline(card, decision, settings, len(chosen)),
            _left_out(len(found), len(chosen)),
            embeddings,
        )

    def _ask(self, found: ObjectStore, chosen: Ints) -> SlideAnswer:
        """Return what the network answers for the chosen tiles of the store."""
        features = found.mapped_features()
        if len(chosen) < len(found):
            features = features[chosen]
        downsample = (self._grid.downsample_x, self._grid.downsample_y)
        corners = np.concatenate(
            [[outline[0] for outline in chunk.outlines] for chunk in found.chunks()]
        )
        coords = seen_corners(corners[chosen], self._grid.halo_px, downsample)
        patch_px = patch_px_level0(self._grid.read_px, downsample)
        return self._algorithm.aggregate(features, coords, patch_px)


def evenly_spaced(tiles: int, most: int | None) -> Ints:
    """Return the numbers of at most `most` of the tiles, in order and evenly spaced."""
    if most is None or tiles <= most:
        return np.arange(tiles)
    return np.arange(most) * tiles // most


def slide_class(probabilities: Floats, threshold: float | None) -> SlideClass:
    """Return the likeliest class, which is the slide's if it is as likely as the threshold says.

    Without one, a single class must reach 0.5 and one of several need not.
    """
    likeliest = int(probabilities.argmax())
    probability = float(probabilities[likeliest])
    least = threshold
    if least is None and len(probabilities) == 1:
        least = 0.5
    if least is not None and probability < least:
        return SlideClass(None, likeliest, probability)
    return SlideClass(likeliest, likeliest, probability)


def attention_row(
    attention: NDArray[np.float32], head: int | None, classes: int, number: int
) -> NDArray[np.float32]:
    """Return one value for each tile of the attention (R, T).

    It is row number `head` where that is given, else that of class `number` where there is a row
    for each class, else the mean of all rows.
    """
    if head is not None:
        return np.asarray(attention[head])
    if len(attention) == classes:
        return np.asarray(attention[number])
    return np.asarray(attention.mean(axis=0, dtype=np.float64), np.float32)


def ranks(values: NDArray[np.float32]) -> Floats:
    """Return the rank of each value divided by their number; equal ones share the average rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    average = counts.cumsum() - (counts - 1) / 2
    return np.asarray(average[place] / len(values), np.float64)


def _squares_beside(found: ObjectStore) -> ObjectStore:
    """Return an empty store beside the one with the vectors."""
    folder = found.folder.with_name(_FOLDER)
    shutil.rmtree(folder, ignore_errors=True)  # of a finish that was lost
    return ObjectStore.begin(folder)


def _store_attention(
    squares: ObjectStore, found: ObjectStore, chosen: Ints, attention: NDArray[np.float32]
) -> None:
    """Write the chosen tiles of `found` into `squares`, with their attention and its rank."""
    measured = np.column_stack([attention.astype(np.float64), ranks(attention)])
    first = 0
    for chunk in found.chunks():
        start, stop = np.searchsorted(chosen, (first, first + len(chunk)))
        own = chunk.selected(chosen[start:stop] - first)
        squares.append(replace(own, measurements=measured[start:stop]))
        first += len(chunk)


def _summary(
    card: AlgorithmCard,
    decision: SlideClass | None,
    probabilities: Floats | None,
    tiles: int,
    precision: str,
) -> dict[str, Any]:
    names = [entry.name for entry in card.classes]
    name = None
    probability = None
    by_class: dict[str, float | None] = dict.fromkeys(names)
    if decision is not None and probabilities is not None:
        probability = decision.probability
        by_class = dict(zip(names, probabilities.tolist(), strict=True))
        if decision.number is not None:
            name = names[decision.number]
    return {
        "class": name,
        "probability": probability,
        "probabilities": by_class,
        "tiles": tiles,
        "encoder": card.encoder,
        "precision": precision,
    }


def _headline(
    card: AlgorithmCard, decision: SlideClass, settings: SlideSettings, tiles: int
) -> str:
    label = card.classes[decision.likeliest].label
    figures = f"probability {decision.probability:.3f}, {counted(tiles, 'tile')}"
    if decision.number is not None:
        return f"{label} ({figures})"
    least = settings.threshold
    if least is None:
        least = 0.5
    if len(card.classes) == 1:
        return f"not {label} ({figures}; {least:g} is needed)"
    return f"no class is clear: likeliest {label} ({figures}; {least:g} is needed)"


def _left_out(tiles: int, chosen: int) -> tuple[ScanWarning, ...]:
    if chosen == tiles:
        return ()
    detail = (
        f"the network was given {chosen:,} of {tiles:,} tiles, evenly spaced, as max_tiles says"
    )
    return (ScanWarning(code="tiles_left_out", detail=detail),)
