"""The one judge of every run: what was promised, what the record says and what the receivers have must agree."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from broker.orders.order import ENDED, TRANSITIONS, Order, OrderState, Scan, ScanState
from demo.receivers import Entry
from tests.faults.chaos import Blow
from tests.faults.ledger import Book, Promise
from tests.faults.receivers import Hit

Kind = Literal["lost", "delivered twice", "disagrees"]
SETTLED = {state.value for state in ScanState} - {"fetching", "classifying"}
"""States of a scan that nobody holds."""
NEAR_S = 6.0
"""How far apart a fault and the delivery attempt may lie that it took the answer from."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that must not be."""

    kind: Kind
    order_id: str
    what: str


@dataclass(frozen=True, slots=True)
class Run:
    """Everything there is to judge a run by."""

    book: Book
    orders: Mapping[str, Order]
    logs: Mapping[str, Sequence[Mapping[str, Any]]]
    effects: Mapping[str, Sequence[Entry]]
    hits: Sequence[Hit]
    blows: Sequence[Blow]


def judge(run: Run) -> list[Finding]:
    """Every finding of a run; none when all is well."""
    found = [Finding("disagrees", "", doubled) for doubled in run.book.doubled]
    found += [
        Finding("disagrees", "", f"refused for good: {refused}") for refused in run.book.refused
    ]
    found += _unpromised(run)
    for promise in run.book.promises.values():
        order = run.orders.get(promise.order_id)
        if order is None:
            found.append(
                Finding(
                    "lost", promise.order_id, "it was answered 202 and there is no record of it"
                )
            )
            continue
        effects = run.effects.get(promise.wanted.tag, ()) if promise.wanted.tag else ()
        found += [
            Finding(kind, order.id, what) for kind, what in _about(run, promise, order, effects)
        ]
    return found


def _about(
    run: Run, promise: Promise, order: Order, effects: Sequence[Entry]
) -> Iterator[tuple[Kind, str]]:
    yield from _ends(run, order)
    yield from _arrives_once(promise, order, effects)
    for what in (
        *_fences(order, run.logs[order.id]),
        *_sights(promise),
        *_foretold(promise, effects),
    ):
        yield "disagrees", what


def _unpromised(run: Run) -> Iterator[Finding]:
    """(c) No effect without a 202."""
    promised = {promise.wanted.tag for promise in run.book.promises.values()}
    for tag in run.effects.keys() - promised:
        yield Finding(
            "disagrees", "", f"a receiver has results for {tag}, which nobody was promised"
        )


def _ends(run: Run, order: Order) -> Iterator[tuple[Kind, str]]:
    """(a) Every promise comes to an end, and to one that its faults explain."""
    if order.state not in ENDED:
        yield "lost", f"it is still {order.state.value}"
    elif order.state == OrderState.UNDELIVERED:
        code = (order.error or {}).get("code")
        if code != "delivery_unknown" or order.request.destination.type != "annotation":
            yield "lost", f"it ended undelivered: {order.error}"
        elif not _an_answer_was_lost(run, order):
            yield "disagrees", "it ended delivery_unknown, and no fault came near its last attempt"
    elif order.state != OrderState.DELIVERED:
        yield (
            "lost",
            f"it ended {order.state.value}: {order.error}, {[scan.error for scan in order.scans]}",
        )


def _an_answer_was_lost(run: Run, order: Order) -> bool:
    at = order.attempts[-1].at
    troubles = [hit.at for hit in run.hits if hit.line.startswith("POST")]
    for blow in run.blows:
        troubles += [blow.at, blow.at + blow.for_s] if blow.kind in ("courier", "redis") else []
    return any(abs(trouble - at) < NEAR_S for trouble in troubles)


def _arrives_once(
    promise: Promise, order: Order, effects: Sequence[Entry]
) -> Iterator[tuple[Kind, str]]:
    """(b) One effect for a delivered order, with the bytes on record; never two."""
    if len(effects) > 1:
        yield "delivered twice", f"its receiver took it {len(effects)} times"
    if order.state == OrderState.DELIVERED and promise.wanted.tag and not effects:
        yield "lost", "the record says delivered, and its receiver has nothing"
    for entry in effects:
        if entry.sha256 != order.payload.get("digest"):
            yield "disagrees", "its receiver took other bytes than the record has"


def _fences(order: Order, log: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """(d) One fence for each claim and each loss, one holder at a time, results under the last claim's fence."""
    lines = [str(line["text"]) for line in log]
    yield from _fence(
        "the delivery", order.fence, [text for text in lines if not text.startswith("scan ")]
    )
    for scan in order.scans:
        prefix = f"scan {scan.id}: "
        mine = [text.removeprefix(prefix) for text in lines if text.startswith(prefix)]
        yield from _fence(f"scan {scan.id}", scan.fence, mine)
        yield from _holders(scan, mine)
        if scan.state == ScanState.CLASSIFIED and not scan.result.endswith(f".{scan.fence}"):
            yield f"scan {scan.id} was classified under fence {scan.fence}, its result lies in {scan.result}"


def _fence(name: str, fence: int, lines: list[str]) -> Iterator[str]:
    taken = sum(" taken by " in text for text in lines)
    lost = sum(text.startswith("lost by ") for text in lines)
    if fence != taken + lost:
        yield f"{name} was taken {taken} times and lost {lost} times, its fence is {fence}"


def _holders(scan: Scan, lines: list[str]) -> Iterator[str]:
    holder = ""
    for text in lines:
        if taken := re.fullmatch(r"\w+ taken by (\S+)", text):
            if holder:
                yield f"scan {scan.id} was taken by {taken[1]} while {holder} had it"
            holder = taken[1]
        elif text in SETTLED:
            holder = ""


def _sights(promise: Promise) -> Iterator[str]:
    """(e) Each state shown can follow the one shown before."""
    for before, after in zip(promise.sights, promise.sights[1:], strict=False):
        moves = [("order", before.order, after.order)]
        moves += [("scan", old, new) for old, new in zip(before.scans, after.scans, strict=True)]
        for kind, old, new in moves:
            if new not in reachable(kind, old):
                yield f"its {kind} was shown {old}, then {new}"


def reachable(kind: str, state: str) -> set[str]:
    """Every state that can come after `state`, itself included."""
    found, waiting = {state}, [state]
    while waiting:
        new = set(TRANSITIONS[kind][waiting.pop()]) - found
        found |= new
        waiting += new
    return found


def _foretold(promise: Promise, effects: Sequence[Entry]) -> Iterator[str]:
    """(f) Nothing was called delivered before it was."""
    shown = [sight.at for sight in promise.sights if sight.order == OrderState.DELIVERED]
    if shown and promise.wanted.tag and (not effects or effects[0].at > shown[0]):
        yield "it was shown as delivered before its receiver had it"
