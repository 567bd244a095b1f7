"""The interface of what turns answers for tiles into the objects of an area."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from broker.orders.order import ScanWarning
from worker.geometry.tile_grid import Tile
from worker.results.embeddings import Embeddings
from worker.results.object_store import ObjectStore
from worker.results.objects import Objects

SeamState = Sequence[tuple[int, float, float, int]]
"""The tile number, x, y (level-0 pixels) and class of every object on a seam to tiles to come."""


@dataclass(frozen=True, slots=True)
class Merged:
    """All objects of an area in level-0 pixels, and what only the whole area tells.

    `summary` and `headline` replace those of the algorithm where they are given; the algorithm's
    `precision` stays. `embeddings` are the vectors of the tiles where the algorithm computes some.
    `counts` says how many there are of each class, where some of them are not delivered and so no
    objects. Of tiles with a single class, a further number says how many are not of it.
    """

    objects: ObjectStore
    summary: Mapping[str, Any] | None = None
    headline: str = ""
    warnings: Sequence[ScanWarning] = field(default_factory=tuple)
    embeddings: Embeddings | None = None
    counts: Sequence[int] | None = None


@dataclass(frozen=True, slots=True)
class MergerState:
    """What a merger takes over from an earlier one, beside the objects.

    It may append to files in `folder`; behind what counts may lie what the earlier one wrote after
    its last mark. `seams` and `state` are those of that mark, or empty.
    """

    folder: Path
    seams: SeamState = ()
    state: bytes = b""


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


@runtime_checkable
class StatefulMerger(Protocol):
    """A merger whose state is more than seams."""

    def state(self) -> bytes:
        """Return what a merger that takes over after the tiles so far must know."""
