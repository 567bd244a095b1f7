"""Places many orders of one request, each by itself: one that is refused does not stop the rest."""

import hashlib
from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel, Field

from broker.errors import OrderError, Problem, SlidelaneError
from services.requests import json_body
from services.requests.placement import Orderable, Placed, Placement
from services.responses.problems import body_of, faults_of
from services.responses.views import OrderView, UnreadableOrderView, entry_view

MAX_ORDERS: Final = 1000


class BatchEntry(BaseModel):
    """What became of one order of a batch: `order`, or `problem` as a request alone would get."""

    status: int = Field(description="the status that this order alone would have been answered")
    order: OrderView | UnreadableOrderView | None = Field(None, exclude_if=lambda one: one is None)
    problem: dict[str, Any] | None = Field(None, exclude_if=lambda one: one is None)


def place_all(
    documents: Sequence[Any], placement: Placement, key: str | None, instance: str
) -> list[BatchEntry]:
    """Return what became of each order, in the order of the documents.

    With the Idempotency-Key `key` of the whole batch each order has a key made of it and of its
    place, so that a batch that is repeated makes no order twice. `instance` is the path of the
    request. Raise `OrderError` for a batch of no or too many orders.
    """
    if not 1 <= len(documents) <= MAX_ORDERS:
        raise json_body.not_taken(
            f"it holds {len(documents)} orders, and a batch has 1 to {MAX_ORDERS}", "divide it"
        )
    orderable = Orderable.of(placement.store)
    outcomes: list[Placed | BatchEntry] = []
    for number, document in enumerate(documents):
        try:
            outcomes.append(placement.place_document(document, _key_of(key, number), orderable))
        except SlidelaneError as fault:
            outcomes.append(_refused(fault, instance))
    return _entries(outcomes, placement)


def _key_of(key: str | None, number: int) -> str | None:
    if key is None:
        return None
    return hashlib.sha256(f"{key}\n{number}".encode()).hexdigest()


def _refused(fault: SlidelaneError, instance: str) -> BatchEntry:
    problem = body_of(fault.problem, instance, faults_of(fault))
    return BatchEntry(status=problem["status"], problem=problem)


def _entries(outcomes: Sequence[Placed | BatchEntry], placement: Placement) -> list[BatchEntry]:
    """Return the entries with the orders as they are now, read in one go."""
    ids = [outcome.order_id for outcome in outcomes if isinstance(outcome, Placed)]
    orders = dict(zip(ids, placement.store.get_many(ids), strict=True))
    entries = []
    for outcome in outcomes:
        if isinstance(outcome, BatchEntry):
            entries.append(outcome)
            continue
        order = orders[outcome.order_id]
        if order is None:
            gone = Problem("not_found", "the order was deleted", "place it with another key")
            entries.append(_refused(OrderError(gone.code, gone.detail, hint=gone.hint), ""))
        else:
            entries.append(BatchEntry(status=202, order=entry_view(order)))
    return entries
