"""One line of the table of results: a measured value and its yardstick."""

from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two values of one unit, measured in the same run.

    `against` says what the yardstick is. `ratios` holds the ratio of each round, where there were
    rounds.
    """

    what: str
    unit: str
    ours: float
    against: str
    yardstick: float
    ratios: tuple[float, ...] = ()

    @property
    def ratio(self) -> float:
        """Our value as a multiple of the yardstick: the median of the rounds."""
        return median(self.ratios or (self.ours / self.yardstick,))
