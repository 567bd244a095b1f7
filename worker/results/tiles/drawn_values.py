"""The class and the score with which each object is drawn."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from broker.orders.algorithm_card import AlgorithmCard, ClassCard
from worker.geometry.frame import Floats, Ints
from worker.results.files import attention_csv
from worker.results.object_store import ObjectStore

BINS: Final = 32
"""Bars of a histogram of scores, each of 8 of the 256 values that a tile holds."""
_ATTENTION: Final = ClassCard(
    name=attention_csv.ATTENTION, color="#e69f00", annotation_type="", title="Attention"
)
"""What the tiles of a classified slide are drawn as: they have no class of their own."""
_RANK: Final = attention_csv.MEASUREMENTS.index(attention_csv.ATTENTION_RANK)


def drawn_classes(card: AlgorithmCard) -> tuple[ClassCard, ...]:
    """Return what the objects of a result are drawn as; nothing where they are vectors alone."""
    if card.output == "slide" and card.measurements == attention_csv.MEASUREMENTS:
        return (_ATTENTION,)
    return card.object_classes


class DrawnValues:
    """The classes and scores of a store, read where they are needed.

    The score of a tile of a classified slide is the rank of its attention.
    """

    def __init__(self, store: ObjectStore, card: AlgorithmCard) -> None:
        self.classes = len(drawn_classes(card))
        self._classes = store.mapped("classes")
        self._scores: Floats = store.mapped("scores")
        self._probabilities = store.mapped("probabilities")
        self._has_probabilities = store.width("probabilities") == self.classes
        self._is_ranked = not card.object_classes
        if self._is_ranked:
            measured = store.mapped("measurements").reshape(-1, len(attention_csv.MEASUREMENTS))
            self._scores = measured[:, _RANK]

    def classes_of(self, which: slice | Ints) -> Ints:
        """Return the numbers of the classes of these objects."""
        classes: Ints = self._classes[which].astype(np.int64)
        if self._is_ranked:
            return np.zeros_like(classes)
        return classes

    def scores_of(self, which: slice | Ints) -> NDArray[np.uint8]:
        """Return the scores of these objects, 0 to 1, as 0 to 255."""
        return np.rint(np.clip(self._scores[which], 0, 1) * 255).astype(np.uint8)

    def probabilities_of(self, numbers: Ints) -> Floats:
        """Return the probability of each class for these objects, (N, classes).

        Where an algorithm answers a class alone, that is the score of this class.
        """
        if self._has_probabilities and not self._is_ranked:
            table: Floats = self._probabilities.reshape(-1, self.classes)[numbers]
            return table
        table = np.zeros((len(numbers), self.classes))
        table[np.arange(len(numbers)), self.classes_of(numbers)] = self._scores[numbers]
        return table

    def bins_of(self, which: slice | Ints) -> Ints:
        """Return which 32nd the scores of these objects are in."""
        return (self.scores_of(which) // (256 // BINS)).astype(np.int64)
