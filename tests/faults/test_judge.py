"""The judge of a run finds each violation."""

from dataclasses import replace
from typing import Any

import pytest

from broker.orders.order import Attempt, Order, OrderState, Scan, ScanState
from broker.orders.request import OrderRequest
from demo.receivers import Entry
from tests.faults.checker import Run, judge
from tests.faults.ledger import ClientLedger
from tests.faults.plan import PlannedOrder

DIGEST = "d" * 64
REQUEST = {
    "algorithm": "grid",
    "scans": [{"id": "0", "source": {"type": "path", "path": "/a.svs"}}],
    "destination": {"type": "annotation", "url": "http://127.0.0.1/submitZipOrder", "case_id": "7"},
}
LOG = (
    "scan 0: fetch taken by c",
    "scan 0: staged",
    "scan 0: classify taken by w",
    "scan 0: lost by w: its lease ran out",
    "scan 0: staged",
    "scan 0: classify taken by v",
    "scan 0: classified",
    "deliver taken by c",
    "delivered",
)
VIEWS = (("queued", "queued"), ("running", "staged"), ("delivered", "classified"))


def an_order(**changed: Any) -> Order:
    scan = Scan(index=0, id="0", state=ScanState.CLASSIFIED, fence=4, result="results/o/0.4")
    fields = {
        "id": "o",
        "state": OrderState.DELIVERED,
        "queue": "gpu",
        "created_at": 1,
        "updated_at": 1,
        "expires_at": 9,
    }
    fields |= {
        "request": OrderRequest.model_validate(REQUEST, strict=False),
        "fence": 1,
        "scans": (scan,),
    }
    fields |= {"attempts": (Attempt(at=1, digest=DIGEST),), "payload": {"digest": DIGEST}}
    return Order(**(fields | changed))


def an_entry(**changed: Any) -> Entry:
    return replace(Entry(1.0, "/submitZipOrder", DIGEST, 10, {"case": "7"}), **changed)


def a_run(views: tuple[tuple[str, str], ...] = VIEWS) -> Run:
    """Return a run with one order whose worker was lost once, and that was delivered once."""
    ledger = ClientLedger()
    ledger.accept(PlannedOrder("key", "7", REQUEST), "o")
    for order, scan in views:
        ledger.observe({"id": "o", "state": order, "scans": [{"state": scan}]})
    return Run(
        ledger,
        {"o": an_order()},
        {"o": [{"text": text} for text in LOG]},
        {"7": [an_entry()]},
        [],
        [],
    )


def logged(*lines: str) -> dict[str, list[dict[str, str]]]:
    return {"o": [{"text": text} for text in lines]}


def test_a_run_without_a_fault_is_found_without_one() -> None:
    """The only fault was a lost worker."""
    assert judge(a_run()) == []


UNKNOWN = {"state": OrderState.UNDELIVERED, "error": {"code": "delivery_unknown"}}
OLD_RESULT = an_order().scans[0].model_copy(update={"result": "results/o/0.2"})
SECOND_HOLDER = (
    "scan 0: fetch taken by c",
    "scan 0: classify taken by w",
    "scan 0: classify taken by v",
    "scan 0: classified",
    "deliver taken by c",
    "delivered",
    "scan 0: lost by x",
)
VIOLATIONS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "no record": ("lost", "no record", {"orders": {}}),
    "no end": ("lost", "still", {"orders": {"o": an_order(state=OrderState.DELIVERING)}}),
    "failed": ("lost", "ended failed", {"orders": {"o": an_order(state=OrderState.FAILED)}}),
    "unknown": ("disagrees", "no fault came near", {"orders": {"o": an_order(**UNKNOWN)}}),
    "no effect": ("lost", "has nothing", {"effects": {}}),
    "two effects": ("delivered twice", "2 times", {"effects": {"7": [an_entry(), an_entry()]}}),
    "other bytes": ("disagrees", "other bytes", {"effects": {"7": [an_entry(sha256="e" * 64)]}}),
    "a stranger": ("disagrees", "nobody was promised", {"effects": {"8": [an_entry()]}}),
    "a fence too many": ("disagrees", "its fence is 2", {"orders": {"o": an_order(fence=2)}}),
    "an old fence": (
        "disagrees",
        "under fence 4",
        {"orders": {"o": an_order(scans=(OLD_RESULT,))}},
    ),
    "two holders": ("disagrees", "while w had it", {"logs": logged(*SECOND_HOLDER)}),
    "too early": ("disagrees", "before its receiver", {"effects": {"7": [an_entry(at=9e12)]}}),
}


@pytest.mark.parametrize("what", VIOLATIONS)
def test_what_must_not_be_is_found(what: str) -> None:
    """Each of these alone makes a finding."""
    kind, text, changes = VIOLATIONS[what]
    findings = judge(replace(a_run(), **changes))
    assert any(finding.kind == kind and text in finding.what for finding in findings)


def test_a_step_back_in_what_was_shown_is_found() -> None:
    """A scan that was classified is never staged again."""
    run = a_run((("running", "classified"), ("running", "staged"), ("delivered", "classified")))
    assert [found.what for found in judge(run)] == ["its scan was shown classified, then staged"]


def test_one_key_for_two_orders_is_found() -> None:
    """The same key must stand for the same order each time."""
    run = a_run()
    run.ledger.accept(PlannedOrder("key", "7", REQUEST), "p")
    assert any("stands for o and for p" in found.what for found in judge(run))
