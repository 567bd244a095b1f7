"""Show the outcome of a run: one table, and the history of every order that went wrong."""

import json
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from tests.faults.checker import Finding, Run
from tests.faults.harness import Outcome
from tests.faults.ledger import AcceptedOrder

KINDS = {"lost": "lost", "delivered twice": "delivered twice", "disagrees": "records that disagree"}
SHOWN = 10


def show(outcome: Outcome, console: Console) -> None:
    """Print the table, and every finding with its history."""
    console.print(_table(outcome))
    for finding in outcome.findings[:SHOWN]:
        console.rule(f"{finding.kind}: {finding.order_id}")
        text = "\n".join(history(outcome.run, finding))
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    if outcome.findings:
        count = len(outcome.findings)
        console.print(f"{count} findings; the same plan again: make faults SEED={outcome.seed}")


def _table(outcome: Outcome) -> Table:
    table = Table("", "", title=f"faults, seed {outcome.seed}", show_header=False)
    ledger = outcome.run.ledger
    table.add_row("orders accepted", str(len(ledger.accepted)))
    table.add_row("orders refused", str(len(ledger.refused)))
    table.add_row("calls repeated", str(ledger.repeated_calls))
    table.add_section()
    for state, count in sorted(outcome.by_state.items()):
        table.add_row(f"ended {state}", str(count))
    table.add_section()
    for (role, what), count in sorted(outcome.fault_counts.items()):
        table.add_row(f"{role} {what}", str(count))
    table.add_row("requests with a fault at receivers", str(len(outcome.run.request_faults)))
    table.add_section()
    table.add_row("seconds with faults", f"{outcome.faults_s:.0f}")
    table.add_row("seconds to drain", f"{outcome.drain_s:.1f}")
    table.add_section()
    for kind, name in KINDS.items():
        affected = {
            finding.order_id or finding.what for finding in outcome.findings if finding.kind == kind
        }
        table.add_row(name, str(len(affected)))
    return table


def history(run: Run, finding: Finding) -> Iterator[str]:
    """Yield all that is known of one order.

    That is its record, its log, its receiver's ledger, what was shown, and the faults of its time.
    """
    yield finding.what
    order = run.orders.get(finding.order_id)
    accepted = run.ledger.accepted.get(finding.order_id)
    if order is None or accepted is None:
        return
    record = order.model_dump(mode="json", exclude={"request"})
    yield json.dumps(record | {"request": order.request.shown()}, indent=1)
    events = [*_events_of_order(run, accepted)]
    first = min(at for at, _ in events) - 1
    last = max(at for at, _ in events) + 1
    events += _faults(run, accepted)
    for at, text in sorted(events):
        if first <= at <= last:
            yield f"{at:.3f} {text}"


def _events_of_order(run: Run, accepted: AcceptedOrder) -> Iterator[tuple[float, str]]:
    for line in run.logs[accepted.order_id]:
        yield float(line["at"]), f"log     {line['text']}"
    for seen in accepted.observations:
        yield seen.at, f"shown   {seen.order} {', '.join(seen.scans)}"
    if not accepted.planned.tag:
        return
    for entry in run.effects.get(accepted.planned.tag, ()):
        yield entry.at, f"ledger  {entry.path} {entry.bytes} bytes, sha256 {entry.sha256}"


def _faults(run: Run, accepted: AcceptedOrder) -> Iterator[tuple[float, str]]:
    for process in run.process_faults:
        yield process.at, f"fault   {process.role} {process.what}, {process.for_s:.1f} s"
    for request in run.request_faults:
        if accepted.planned.tag in request.line or "POST" in request.line:
            yield request.at, f"fault   {request.line}: {request.fault}"
