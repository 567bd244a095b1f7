"""Changes as events: which parts of an order's view are new, and nothing that is secret.

A state is the one that the change made, also where the order has gone on since. What else is told
beside a state is read from the record, so it is told only while the order is still in that state.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from broker.log import one_line
from broker.order_progress import order_progress, scan_progress
from broker.order_store import Change, OrderStore
from broker.orders.order import Order, Progress, Scan, ScanState
from services.responses.views import OrderView, order_view, rfc3339

_DELETED = "deleted"
_OF_STATE = ("updated_at", "acts", "progress", "delivery", "warnings", "error", "links")
"""What may change with the state of an order."""


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """One event: its position, its name and its data."""

    id: str
    name: Literal["order", "log"]
    data: Mapping[str, Any]

    @property
    def order_id(self) -> str:
        """The order that changed."""
        return str(self.data["order"])


def plain_events_of(changes: Sequence[Change]) -> list[OrderEvent]:
    """Return one event for each change, with nothing that would have to be read."""
    return [_event(change, None) for change in changes]


def events_of(store: OrderStore, changes: Sequence[Change]) -> list[OrderEvent]:
    """Return one event for each change, in their order. Each order is read once."""
    ids = {one.order_id: None for one in changes if one.line is None}
    orders: dict[str, Order] = {}
    for order in store.get_many(ids):
        if isinstance(order, Order):
            orders[order.id] = order
    return [_event(change, orders.get(change.order_id)) for change in changes]


def _event(change: Change, order: Order | None) -> OrderEvent:
    if change.line is not None:
        line = f"{rfc3339(change.at_s)} {one_line(change.line)}"
        return OrderEvent(change.id, "log", {"order": change.order_id, "line": line})
    return OrderEvent(change.id, "order", {"order": change.order_id} | _parts(change, order))


def _parts(change: Change, order: Order | None) -> dict[str, Any]:
    if change.state == _DELETED:
        return {"deleted": True}
    if change.scan is not None:
        return _scan_parts(change, change.scan, order)
    if order is None:
        return _state_alone(change)
    view = order_view(order).model_dump(mode="json")
    if change.attempt:
        return {"delivery": view["delivery"]}
    if order.state != change.state:
        return _state_alone(change)
    return {"state": change.state} | {name: view.get(name) for name in _OF_STATE}


def _state_alone(change: Change) -> dict[str, Any]:
    if not change.state:
        return {}
    return {"state": change.state}


def _scan_parts(change: Change, number: int, order: Order | None) -> dict[str, Any]:
    """Return the scan that changed, by its id, and how far the order is by that."""
    if order is None or number >= len(order.scans):
        return {}
    scan = order.scans[number]
    if change.progress:
        told = scan.model_copy(update={"progress": _progress(change.progress)})
        if scan.state not in (ScanState.FETCHING, ScanState.CLASSIFYING):
            # It has ended since, and an ended scan counts as done whatever it said before.
            return {"scans": [{"id": scan.id, "progress": told.progress.model_dump(mode="json")}]}
    elif scan.state == change.state:
        view: OrderView = order_view(order)
        shown = view.scans[number].model_dump(mode="json")
        return {
            "updated_at": view.updated_at,
            "progress": view.progress.model_dump(mode="json"),
            "scans": [{"waiting": None, "error": None} | shown],
        }
    else:
        told = scan.model_copy(update={"state": ScanState(change.state), "progress": Progress()})
    scans = [*order.scans[:number], told, *order.scans[number + 1 :]]
    whole = order_progress(order.model_copy(update={"scans": tuple(scans)}))
    shown = {"id": scan.id, "progress": _shown_progress(told)}
    if change.state:
        shown["state"] = change.state
    return {"progress": whole.model_dump(mode="json"), "scans": [shown]}


def _progress(text: str) -> Progress:
    try:
        return Progress.model_validate(json.loads(text))
    except (ValueError, ValidationError):
        return Progress()


def _shown_progress(scan: Scan) -> dict[str, Any]:
    return scan_progress(scan).model_dump(mode="json")
