"""Judge a run: what was accepted, what the record says and what the receivers have must agree.

The letters in the docstrings are the rows of the first table in docs/faults.md.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from broker.orders.order import ENDED, TRANSITIONS, Order, OrderState, Scan, ScanState
from demo.receivers import Entry
from tests.faults.chaos import ProcessFault
from tests.faults.ledger import AcceptedOrder, ClientLedger
from tests.faults.receivers import RequestFault

Kind = Literal["lost", "delivered twice", "disagrees"]
SETTLED = {state.value for state in ScanState} - {"fetching", "classifying"}
"""States of a scan that no worker holds."""
FAULT_WINDOW_S = 6.0
"""How far a fault may be from the delivery attempt whose answer it caused to be lost."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One violation."""

    kind: Kind
    order_id: str
    what: str


@dataclass(frozen=True, slots=True)
class Run:
    """Everything by which a run is judged."""

    ledger: ClientLedger
    orders: Mapping[str, Order]
    logs: Mapping[str, Sequence[Mapping[str, Any]]]
    effects: Mapping[str, Sequence[Entry]]
    request_faults: Sequence[RequestFault]
    process_faults: Sequence[ProcessFault]


def judge(run: Run) -> list[Finding]:
    """Return every violation of a run; none if all is well."""
    findings = [Finding("disagrees", "", doubled) for doubled in run.ledger.doubled]
    findings += [
        Finding("disagrees", "", f"refused for good: {call}") for call in run.ledger.refused
    ]
    findings += _effects_without_order(run)
    for accepted in run.ledger.accepted.values():
        order = run.orders.get(accepted.order_id)
        if order is None:
            what = "it was answered 202 and there is no record of it"
            findings.append(Finding("lost", accepted.order_id, what))
            continue
        for kind, what in _violations(run, accepted, order):
            findings.append(Finding(kind, order.id, what))
    return findings


def _violations(run: Run, accepted: AcceptedOrder, order: Order) -> Iterator[tuple[Kind, str]]:
    effects: Sequence[Entry] = ()
    if accepted.planned.tag:
        effects = run.effects.get(accepted.planned.tag, ())
    yield from _wrong_end(run, order)
    yield from _not_delivered_once(accepted, order, effects)
    for what in _wrong_fences(order, run.logs[order.id]):
        yield "disagrees", what
    for what in _impossible_states(accepted):
        yield "disagrees", what
    for what in _shown_too_early(accepted, effects):
        yield "disagrees", what


def _effects_without_order(run: Run) -> Iterator[Finding]:
    """(c) No effect without a 202."""
    tags = {accepted.planned.tag for accepted in run.ledger.accepted.values()}
    for tag in run.effects.keys() - tags:
        what = f"a receiver has results for {tag}, which nobody was promised"
        yield Finding("disagrees", "", what)


def _wrong_end(run: Run, order: Order) -> Iterator[tuple[Kind, str]]:
    """(a) Every accepted order ends, and in a way that its faults explain."""
    if order.state not in ENDED:
        yield "lost", f"it is still {order.state.value}"
    elif order.state == OrderState.UNDELIVERED:
        code = (order.error or {}).get("code")
        if code != "delivery_unknown" or order.request.destination.type != "annotation":
            yield "lost", f"it ended undelivered: {order.error}"
        elif not _an_answer_was_lost(run, order):
            yield "disagrees", "it ended delivery_unknown, and no fault came near its last attempt"
    elif order.state != OrderState.DELIVERED:
        errors = [scan.error for scan in order.scans]
        yield "lost", f"it ended {order.state.value}: {order.error}, {errors}"


def _an_answer_was_lost(run: Run, order: Order) -> bool:
    attempted_at = order.attempts[-1].at
    fault_times = [fault.at for fault in run.request_faults if fault.line.startswith("POST")]
    for fault in run.process_faults:
        if fault.kind in ("courier", "redis"):
            fault_times += [fault.at, fault.at + fault.for_s]
    return any(abs(at - attempted_at) < FAULT_WINDOW_S for at in fault_times)


def _not_delivered_once(
    accepted: AcceptedOrder, order: Order, effects: Sequence[Entry]
) -> Iterator[tuple[Kind, str]]:
    """(b) One effect for a delivered order, with the bytes on record; never two."""
    if len(effects) > 1:
        yield "delivered twice", f"its receiver took it {len(effects)} times"
    if order.state == OrderState.DELIVERED and accepted.planned.tag and not effects:
        yield "lost", "the record says delivered, and its receiver has nothing"
    for entry in effects:
        if entry.sha256 != order.payload.get("digest"):
            yield "disagrees", "its receiver took other bytes than the record has"


def _wrong_fences(order: Order, log: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """(d) One fence for each claim and each loss, one holder at a time.

    Results lie under the fence of the last claim.
    """
    lines = [str(line["text"]) for line in log]
    delivery_lines = [text for text in lines if not text.startswith("scan ")]
    yield from _wrong_fence("the delivery", order.fence, delivery_lines)
    for scan in order.scans:
        prefix = f"scan {scan.id}: "
        scan_lines = [text.removeprefix(prefix) for text in lines if text.startswith(prefix)]
        yield from _wrong_fence(f"scan {scan.id}", scan.fence, scan_lines)
        yield from _second_holders(scan, scan_lines)
        if scan.state == ScanState.CLASSIFIED and not scan.result.endswith(f".{scan.fence}"):
            yield (
                f"scan {scan.id} was classified under fence {scan.fence}, "
                f"its result lies in {scan.result}"
            )


def _wrong_fence(name: str, fence: int, lines: list[str]) -> Iterator[str]:
    taken = sum(" taken by " in text for text in lines)
    lost = sum(text.startswith("lost by ") for text in lines)
    if fence != taken + lost:
        yield f"{name} was taken {taken} times and lost {lost} times, its fence is {fence}"


def _second_holders(scan: Scan, lines: list[str]) -> Iterator[str]:
    holder = ""
    for text in lines:
        taken = re.fullmatch(r"\w+ taken by (\S+)", text)
        if taken:
            if holder:
                yield f"scan {scan.id} was taken by {taken[1]} while {holder} had it"
            holder = taken[1]
        elif text.partition(": ")[0] in SETTLED:  # after the colon stands why
            holder = ""


def _impossible_states(accepted: AcceptedOrder) -> Iterator[str]:
    """(e) Each state shown can follow the one shown before."""
    for before, after in pairwise(accepted.observations):
        moves = [("order", before.order, after.order)]
        moves += [("scan", old, new) for old, new in zip(before.scans, after.scans, strict=True)]
        for kind, old, new in moves:
            if new not in reachable(kind, old):
                yield f"its {kind} was shown {old}, then {new}"


def reachable(kind: str, state: str) -> set[str]:
    """Return every state that can come after `state`, itself included."""
    found = {state}
    to_visit = [state]
    while to_visit:
        new = set(TRANSITIONS[kind][to_visit.pop()]) - found
        found |= new
        to_visit += new
    return found


def _shown_too_early(accepted: AcceptedOrder, effects: Sequence[Entry]) -> Iterator[str]:
    """(f) No order was shown as delivered before its receiver had it."""
    shown_at = [seen.at for seen in accepted.observations if seen.order == OrderState.DELIVERED]
    if not shown_at or not accepted.planned.tag:
        return
    if not effects or effects[0].at > shown_at[0]:
        yield "it was shown as delivered before its receiver had it"
