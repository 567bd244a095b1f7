"""How far an order is: it never goes back, has always a stage, and counts to the very end."""

from typing import Any

import pytest

from broker.orders.order import Order, OrderState, Progress, Scan, ScanState
from broker.orders.request import OrderRequest
from services.responses.progress import order_progress, scan_progress

DOWNLOADED = {"stage": "fetching", "done": 50, "total": 100, "eta_s": 5.0}
CALIBRATED = {"stage": "calibrating", "done": 12, "total": 12, "eta_s": 0.0}
HALF_OF_THE_TILES = {"stage": "classifying", "done": 50, "total": 100, "eta_s": 39.0}
ALL_TILES = {"stage": "classifying", "done": 100, "total": 100, "eta_s": 0.0}
DRAWING = {"stage": "drawing", "done": 0, "total": 1, "eta_s": None}
STORED = {"stage": "storing", "done": 1, "total": 1, "eta_s": 0.0}
LIFE: tuple[tuple[OrderState, tuple[ScanState, dict[str, Any]]], ...] = (
    (OrderState.QUEUED, (ScanState.QUEUED, {})),
    (OrderState.RUNNING, (ScanState.FETCHING, {})),
    (OrderState.RUNNING, (ScanState.FETCHING, DOWNLOADED)),
    (OrderState.RUNNING, (ScanState.STAGED, DOWNLOADED | {"done": 100, "eta_s": 0.0})),
    (OrderState.RUNNING, (ScanState.CLASSIFYING, {})),
    (OrderState.RUNNING, (ScanState.CLASSIFYING, CALIBRATED)),
    (OrderState.RUNNING, (ScanState.CLASSIFYING, HALF_OF_THE_TILES)),
    (OrderState.RUNNING, (ScanState.CLASSIFYING, ALL_TILES)),
    (OrderState.RUNNING, (ScanState.CLASSIFYING, DRAWING)),
    (OrderState.RUNNING, (ScanState.CLASSIFYING, STORED)),
    (OrderState.DELIVERING, (ScanState.CLASSIFIED, STORED)),
    (OrderState.DELIVERED, (ScanState.CLASSIFIED, STORED)),
)


def an_order(state: OrderState, *scans: tuple[ScanState, dict[str, Any]], **scan: Any) -> Order:
    asked = [
        {"id": str(number), "source": {"type": "path", "path": "/a.svs"}}
        for number in range(len(scans))
    ]
    return Order(
        id="o",
        state=state,
        request=OrderRequest.model_validate({"algorithm": "grid", "scans": asked}, strict=False),
        queue="gpu",
        created_at=0,
        updated_at=0,
        expires_at=0,
        scans=tuple(
            Scan(index=number, id=str(number), state=one, progress=Progress(**progress), **scan)
            for number, (one, progress) in enumerate(scans)
        ),
    )


def test_the_percent_grows_from_nothing_to_all() -> None:
    """Through fetch, classify and deliver; 100 only once it is delivered."""
    percents = [order_progress(an_order(state, scan)).percent for state, scan in LIFE]
    assert percents == sorted(percents)
    assert len(set(percents)) >= 8
    assert (percents[0], percents[-2], percents[-1]) == (0.0, 95.0, 100.0)


def test_the_stage_is_never_empty() -> None:
    """Neither of an order nor of a scan, whatever its state."""
    stages = []
    for state, scan in LIFE:
        order = an_order(state, scan)
        stages.append((order_progress(order).stage, scan_progress(order.scans[0]).stage))
    assert stages == [
        ("queued", "queued"),
        ("fetch", "fetching"),
        ("fetch", "fetching"),
        ("classify", "staged"),
        ("classify", "classifying"),
        ("classify", "calibrating"),
        ("classify", "classifying"),
        ("classify", "classifying"),
        ("classify", "drawing"),
        ("classify", "storing"),
        ("deliver", "classified"),
        ("delivered", "classified"),
    ]


def test_nothing_is_at_its_end_before_it_is() -> None:
    """A step with 0 s to go says nothing of those after it: the time left is unknown then."""
    for state, scan in LIFE:
        order = an_order(state, scan)
        left_s = {order_progress(order).eta_s, scan_progress(order.scans[0]).eta_s}
        if state == OrderState.DELIVERED:
            assert left_s == {0.0}
        elif scan[1] == HALF_OF_THE_TILES:
            # 39 s of tiles are left, and what follows the tiles: 0.15 / 0.78 of 78 s
            assert left_s == {54.0}
        elif state != OrderState.DELIVERING:
            assert left_s == {None}


def test_scans_to_come_count_as_those_that_are_done() -> None:
    """Two scans took 60 s each; one has 54 s to go, two wait: 174 s, on one worker."""
    half = (ScanState.CLASSIFYING, HALF_OF_THE_TILES)
    waiting = (ScanState.STAGED, DOWNLOADED)
    done = (ScanState.CLASSIFIED, STORED)
    timings = {"classify_s": 50.0, "keep_s": 10.0}
    order = an_order(OrderState.RUNNING, done, half, waiting, done, waiting, timings=timings)
    assert order_progress(order).eta_s == 174.0
    assert order_progress(an_order(OrderState.RUNNING, half, waiting)).eta_s is None


@pytest.mark.parametrize("state", [OrderState.FAILED, OrderState.CANCELLED, OrderState.EXPIRED])
def test_an_order_that_ended_early_has_nothing_to_go(state: OrderState) -> None:
    """Its stage is its state, and it is not at 100 percent."""
    order = an_order(state, (ScanState.CLASSIFIED, STORED), (ScanState.CANCELLED, DOWNLOADED))
    progress = order_progress(order)
    assert (progress.stage, progress.eta_s) == (state.value, 0.0)
    assert progress.percent < 100


def test_a_scan_that_judges_its_case_counts_as_done() -> None:
    """It is encoded, so the percent does not go back; how long the answer takes nobody knows."""
    others = (ScanState.CLASSIFIED, STORED)
    for state in (ScanState.STAGED, ScanState.CLASSIFYING):
        order = an_order(OrderState.RUNNING, others, (state, {}))
        judge = order.scans[1].model_copy(update={"judges_case": True})
        progress = order_progress(order.model_copy(update={"scans": (order.scans[0], judge)}))
        assert (progress.stage, progress.percent, progress.eta_s) == ("classify", 95.0, None)
