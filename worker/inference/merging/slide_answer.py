"""Asks a network for slides about a bag of tiles: its class, and how much it looked at each."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from worker.algorithms.interface import SlideAlgorithm, TilePlaces
from worker.geometry.frame import Floats, Ints
from worker.inference.merging.slide_summary import Judgement, slide_class
from worker.results.object_store import ObjectStore
from worker.results.objects import ObjectSource


@dataclass(frozen=True, slots=True)
class BagAnswer:
    """What is answered for a bag of T tiles.

    `measured`, (T, 2), is the attention of each tile as it is answered, and its rank in the bag;
    None where the network answers none.
    """

    judgement: Judgement
    measured: Floats | None


def ask(
    algorithm: SlideAlgorithm,
    features: NDArray[np.float32],
    places: TilePlaces | None,
    scans: int,
) -> BagAnswer:
    """Return what the network answers for T tiles of so many scans, at least one tile.

    `features` and `places` are those of `SlideAlgorithm.aggregate`, which says what is raised.
    """
    answer = algorithm.aggregate(features, places)
    settings = algorithm.settings
    decision = slide_class(answer.probabilities, settings.threshold)
    judgement = Judgement(scans, len(features), decision, answer.probabilities)
    if answer.attention is None:
        return BagAnswer(judgement, None)
    classes = len(algorithm.card.classes)
    row = attention_row(answer.attention, settings.attention_head, classes, decision.likeliest)
    return BagAnswer(judgement, np.column_stack([row.astype(np.float64), ranks(row)]))


def evenly_spaced(tiles: int, most: int | None) -> Ints:
    """Return the numbers of at most `most` of the tiles, in order and evenly spaced."""
    if most is None or tiles <= most:
        return np.arange(tiles)
    return np.arange(most) * tiles // most


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


def store_measured(
    squares: ObjectStore, tiles: ObjectSource, chosen: Ints, measured: Floats
) -> None:
    """Write the `chosen` ones of the `tiles` into `squares`, with their measurements (N, 2)."""
    first = 0
    for chunk in tiles.chunks():
        start, stop = np.searchsorted(chosen, (first, first + len(chunk)))
        own = chunk.selected(chosen[start:stop] - first)
        squares.append(replace(own, measurements=measured[start:stop]))
        first += len(chunk)
