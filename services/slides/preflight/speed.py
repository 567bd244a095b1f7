"""How long an algorithm takes, measured on the scans that it classified last."""

from dataclasses import dataclass
from typing import Final, Self

from broker.order_store import OrderStore
from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.order import ScanState

_PAST_ORDERS: Final = 50


@dataclass(frozen=True, slots=True)
class Speed:
    """The speed of an algorithm; both are None where it has classified nothing yet.

    `tiles_per_s`: of all its last scans together, so that many small ones, which spend their time
    on opening the slide, do not hide how fast the large ones were. `scan_s`: of a scan without
    tiles, the mean.
    """

    tiles_per_s: float | None
    scan_s: float | None

    @classmethod
    def of(cls, store: OrderStore, card: AlgorithmCard) -> Self:
        """Return the speed at which the last orders for this algorithm were classified.

        What an attempt went on from is not counted.
        """
        page = store.find(algorithm=card.name, limit=_PAST_ORDERS)
        timings = [
            scan.timings
            for order in page.orders
            for scan in order.scans
            if scan.state == ScanState.CLASSIFIED and scan.timings.get("classify_s", 0) > 0
        ]
        with_tiles = [one for one in timings if one.get("tiles", 0) > one.get("tiles_resumed", 0)]
        tiles = sum(one["tiles"] - one.get("tiles_resumed", 0) for one in with_tiles)
        spent_s = sum(one["classify_s"] for one in with_tiles)
        tiles_per_s = None
        if tiles and spent_s:
            tiles_per_s = tiles / spent_s
        whole = [one["classify_s"] for one in timings if "tiles" not in one]
        scan_s = None
        if whole:
            scan_s = sum(whole) / len(whole)
        return cls(tiles_per_s, scan_s)

    def expected_s(self, tiles: int | None) -> float | None:
        """Return the seconds that so many tiles take, None where nothing was measured."""
        if tiles is None:
            spent_s = self.scan_s
        elif self.tiles_per_s is None:
            spent_s = None
        else:
            spent_s = tiles / self.tiles_per_s
        if spent_s is None:
            return None
        return round(spent_s, 1)
