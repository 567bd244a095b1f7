"""What a run came to, as people read it: one table, and the whole history of every order that went wrong."""

import json
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from tests.faults.checker import Finding, Run
from tests.faults.harness import Verdict

KINDS = {"lost": "lost", "delivered twice": "delivered twice", "disagrees": "records that disagree"}
SHOWN = 10


def show(verdict: Verdict, console: Console) -> None:
    """Print the table, and every finding with its history."""
    console.print(_table(verdict))
    for finding in verdict.findings[:SHOWN]:
        console.rule(f"{finding.kind}: {finding.order_id}")
        console.print(
            "\n".join(history(verdict.run, finding)), markup=False, highlight=False, soft_wrap=True
        )
    if verdict.findings:
        console.print(
            f"{len(verdict.findings)} findings; the same plan again: make faults SEED={verdict.seed}"
        )


def _table(verdict: Verdict) -> Table:
    table = Table("", "", title=f"faults, seed {verdict.seed}", show_header=False)
    book = verdict.run.book
    for name, count in (
        ("orders accepted", len(book.promises)),
        ("orders refused", len(book.refused)),
        ("calls repeated", book.asked_again),
    ):
        table.add_row(name, str(count))
    table.add_section()
    for state, count in sorted(verdict.by_state.items()):
        table.add_row(f"ended {state}", str(count))
    table.add_section()
    for (role, what), count in sorted(verdict.blows.items()):
        table.add_row(f"{role} {what}", str(count))
    table.add_row("requests in trouble at receivers", str(len(verdict.run.hits)))
    table.add_section()
    table.add_row("seconds with faults", f"{verdict.war_s:.0f}")
    table.add_row("seconds to drain", f"{verdict.peace_s:.1f}")
    table.add_section()
    for kind, name in KINDS.items():
        table.add_row(
            name, str(len({f.order_id or f.what for f in verdict.findings if f.kind == kind}))
        )
    return table


def history(run: Run, finding: Finding) -> Iterator[str]:
    """All that is known of one order: record, log, ledger, what was shown, and the faults of its time."""
    yield finding.what
    order, promise = run.orders.get(finding.order_id), run.book.promises.get(finding.order_id)
    if order is None or promise is None:
        return
    yield json.dumps(
        order.model_dump(mode="json", exclude={"request"}) | {"request": order.request.shown()},
        indent=1,
    )
    lines = [(float(line["at"]), f"log     {line['text']}") for line in run.logs[order.id]]
    lines += [
        (sight.at, f"shown   {sight.order} {', '.join(sight.scans)}") for sight in promise.sights
    ]
    effects = run.effects.get(promise.wanted.tag, ()) if promise.wanted.tag else ()
    lines += [
        (entry.at, f"ledger  {entry.path} {entry.bytes} bytes, sha256 {entry.sha256}")
        for entry in effects
    ]
    first, last = min(at for at, _ in lines) - 1, max(at for at, _ in lines) + 1
    lines += [(b.at, f"fault   {b.role} {b.what}, {b.for_s:.1f} s") for b in run.blows]
    lines += [
        (h.at, f"fault   {h.line}: {h.fault}")
        for h in run.hits
        if promise.wanted.tag in h.line or "POST" in h.line
    ]
    for at, text in sorted(lines):
        if first <= at <= last:
            yield f"{at:.3f} {text}"
