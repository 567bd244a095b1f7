"""The vectors that an encoder answers for the tiles of a scan, as a value."""

from dataclasses import dataclass
from typing import Literal

from worker.results.objects import ObjectSource

Store = Literal["float32", "float16"]


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The tiles of a scan as squares in level-0 pixels, each with a vector of `dimensions` numbers.

    `dimensions` counts also where no tile was read. `store` is the type of the numbers in files,
    `encoder` the name of the algorithm that answers them. `shows_squares` says whether
    features.geojson holds the tiles.
    """

    tiles: ObjectSource
    dimensions: int
    store: Store
    encoder: str
    shows_squares: bool = True
