"""One line of the table at the end: a number of ours beside its yardstick, measured in the same run."""

from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Row:
    """Two numbers of one unit. `ratios` holds what came of them in each round, where there were rounds."""

    what: str
    unit: str
    ours: float
    against: str
    yardstick: float
    ratios: tuple[float, ...] = ()

    @property
    def ratio(self) -> float:
        """Ours as a multiple of the yardstick: the median of the rounds."""
        return median(self.ratios or (self.ours / self.yardstick,))
