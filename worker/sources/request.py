"""What is needed to fetch one slide."""

from dataclasses import dataclass

from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.roi import Roi
from broker.orders.source import Source


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """The slide of one scan and what will be read of it.

    `roi`: None for the whole slide. `mpp`: microns per pixel as the order or the locator states
    them. `card`: of the algorithm whose tiles will be read, None where no worker has announced it.
    """

    source: Source
    roi: Roi | None = None
    mpp: float | None = None
    card: AlgorithmCard | None = None
