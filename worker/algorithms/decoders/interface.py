"""The interface between a network of a model folder and what is made of its answers."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from worker.algorithms.interface import TileAnswers
from worker.geometry.frame import Area, Frame

Answers = Mapping[str, Any]
"""What a network answers for a batch, by role: tensors on its device, or lists of them.

The role of a bare tensor is the first of the output: `logits`, `labels`, `heat`, `boxes` or
`features`."""


class AnswerDecoder(Protocol):
    """Turns what one network answers into what the pipeline takes. Threads may share it."""

    def decode(self, answers: Answers, tiles: int) -> TileAnswers:
        """Return the answers for so many tiles.

        Raises AlgorithmAnswerError, which names role and shape, for NaN, infinity, another shape or
        type, a probability outside 0 to 1, and the number of no class.
        """

    def summarise(
        self, counts: Sequence[int], frame: Frame, area: Area
    ) -> tuple[dict[str, Any], str]:
        """Return figures fit for JSON, and a headline of one line.

        `counts` holds the number of objects of each class in the whole area.
        """
