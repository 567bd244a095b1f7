"""How far a scan and a whole order are: never without a stage, and counted to the very end.

The record has the step of each scan and the speed of that step. A step that is nearly done says
little about the steps after it, so the shares of the steps in the work are estimated here.
"""

from collections.abc import Mapping
from statistics import mean
from typing import Final

from pydantic import BaseModel, Field

from broker.orders.order import (
    ENDED,
    SCAN_ENDED,
    Order,
    OrderState,
    Progress,
    Scan,
    ScanState,
)

_FETCH_SHARE: Final = 0.1
"""Of the work on a scan; the rest is classifying it."""
_SCANS_PERCENT: Final = 95.0
"""Of the work on an order; the rest is its delivery."""
_TILES: Final = "classifying"
_CLASSIFY_STEPS: Final[Mapping[str, tuple[float, float]]] = {
    "tissue": (0.0, 0.02),
    "calibrating": (0.02, 0.07),
    _TILES: (0.07, 0.85),
    "polygons": (0.85, 0.88),
    "drawing": (0.88, 0.9),
    "storing": (0.9, 1.0),
}
"""Where each step of classifying begins and ends, as a share of classifying a scan."""
_ACTIVE: Final = frozenset({ScanState.FETCHING, ScanState.CLASSIFYING})


class OrderProgress(BaseModel):
    """How far a whole order is."""

    stage: str = Field(description="`fetch`, `classify` or `deliver`; else the order's state")
    percent: float = Field(description="of the work on all scans and the delivery")
    eta_s: float | None = Field(
        description="seconds until all scans are classified; null while nobody can know"
    )


def scan_progress(scan: Scan) -> Progress:
    """Return how far a scan is. `eta_s`: seconds until it is classified, None while unknown."""
    if scan.state in _ACTIVE:
        step = scan.progress.stage or scan.state.value
        return scan.progress.model_copy(update={"stage": step, "eta_s": _left_s(scan)})
    if scan.state in SCAN_ENDED:
        return scan.progress.model_copy(update={"stage": scan.state.value, "eta_s": 0.0})
    return Progress(stage=scan.state.value)


def order_progress(order: Order) -> OrderProgress:
    """Return how far the order is, from its first fetch to its delivery."""
    percent = _SCANS_PERCENT * mean(_share_done(scan) for scan in order.scans)
    if order.state == OrderState.DELIVERED:
        percent = 100.0
    return OrderProgress(stage=_stage(order), percent=round(percent, 1), eta_s=_order_eta_s(order))


def _stage(order: Order) -> str:
    if order.state == OrderState.DELIVERING:
        return "deliver"
    if order.state != OrderState.RUNNING:
        return order.state.value
    if all(scan.state in {ScanState.QUEUED, ScanState.FETCHING} for scan in order.scans):
        return "fetch"
    return "classify"


def _share_done(scan: Scan) -> float:
    """Return how much of the work on the scan is done, from 0 to 1."""
    if scan.state in SCAN_ENDED or scan.judges_case:
        return 1.0
    if scan.state == ScanState.QUEUED:
        return 0.0
    if scan.state == ScanState.FETCHING:
        return _FETCH_SHARE * _step_done(scan.progress)
    if scan.state == ScanState.STAGED:
        return _FETCH_SHARE
    begin, end = _CLASSIFY_STEPS.get(scan.progress.stage, (0.0, 0.0))
    classified = begin + (end - begin) * _step_done(scan.progress)
    return _FETCH_SHARE + (1 - _FETCH_SHARE) * classified


def _step_done(progress: Progress) -> float:
    if progress.total <= 0:
        return 0.0
    return min(1.0, progress.done / progress.total)


def _left_s(scan: Scan) -> float | None:
    """Return the seconds until the scan is classified, at the speed of its tiles so far.

    None before its first tiles and after its last: no speed is known of other steps.
    """
    progress = scan.progress
    left = 1 - _step_done(progress)
    if progress.stage != _TILES or progress.eta_s is None or left <= 0 or progress.total <= 0:
        return None
    begin, end = _CLASSIFY_STEPS[_TILES]
    tiles_s = progress.eta_s / left
    return round(progress.eta_s + tiles_s * (1 - end) / (end - begin), 1)


def _order_eta_s(order: Order) -> float | None:
    """Return the seconds until the last scan is classified, as many at a time as there are now."""
    if order.state in ENDED:
        return 0.0
    classifying = sum(scan.state == ScanState.CLASSIFYING for scan in order.scans)
    if order.state != OrderState.RUNNING or not classifying:
        return None
    if any(scan.judges_case for scan in order.scans):
        return None
    usual_s = _usual_s(order)
    longest_s = 0.0
    sum_s = 0.0
    for scan in order.scans:
        left_s = _left_s(scan)
        if scan.state in SCAN_ENDED:
            left_s = 0.0
        elif left_s is None:
            left_s = usual_s
        if left_s is None:
            return None
        longest_s = max(longest_s, left_s)
        sum_s += left_s
    return round(max(longest_s, sum_s / classifying), 1)


def _usual_s(order: Order) -> float | None:
    """Return what the scans that are classified took on average, None before the first is."""
    taken_s = []
    for scan in order.scans:
        if scan.state == ScanState.CLASSIFIED:
            timings = scan.timings
            taken_s.append(timings.get("classify_s", 0.0) + timings.get("keep_s", 0.0))
    if not taken_s:
        return None
    return mean(taken_s)
