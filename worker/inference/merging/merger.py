"""The interface of what turns answers for tiles into the objects of an area."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from broker.orders.order import ScanWarning
from worker.geometry.tile_grid import Tile
from worker.results.embeddings import Embeddings
from worker.results.object_store import ObjectStore
from worker.results.objects import Objects

SeamState = Sequence[tuple[int, float, float]]
"""The tile number, x and y (level-0 pixels) of every object on a seam to tiles yet to come."""


@dataclass(frozen=True, slots=True)
class Merged:
    """All objects of an area in level-0 pixels, and what only the whole area tells.

    `summary` and `headline` replace those of the algorithm where they are given. `embeddings` are
    the vectors of the tiles where the algorithm computes some.
    """

    objects: ObjectStore
    summary: Mapping[str, Any] | None = None
    headline: str = ""
    warnings: Sequence[ScanWarning] = field(default_factory=tuple)
    embeddings: Embeddings | None = None


class AnswerMerger(Protocol):
    """Turns an algorithm's answers for tiles, in the tiles' order, into objects of the area."""

    @property
    def seams(self) -> SeamState:
        """What a merger that takes over after the tiles so far must know."""

    def place(self, tiles: Sequence[Tile], answers: Any) -> Objects:
        """Return the objects of these tiles in level-0 pixels, which are stored as they come."""

    def finish(self, found: ObjectStore) -> Merged:
        """Return the objects of the area, once all tiles are placed.

        `found` holds what `place` returned, also for the tiles before this merger took over. Where
        the objects are others, they are in a store of another folder beside it. Called again after
        a loss, it must answer the same.
        """
