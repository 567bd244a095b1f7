"""Write orders as a table: a row for each scan, with its labels and the figures of its result."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from broker.orders.order import Order, Scan, UnreadableOrder
from services.responses.views import rfc3339

_FIXED: Final = (
    "order",
    "state",
    "algorithm",
    "created_at",
    "updated_at",
    "created_by",
    "scan",
    "scan_state",
    "error",
    "warnings",
    "headline",
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def table(entries: Sequence[Order | UnreadableOrder]) -> str:
    """Return the orders as CSV, in the order given.

    Columns after the fixed ones: `label.NAME` for each label, and `result.NAME` for each figure of
    a result; nested figures are named after all keys above them, with dots.
    """
    rows = [row for entry in entries for row in _rows(entry)]
    names: set[str] = set()
    for row in rows:
        names.update(row)
    columns = [*_FIXED, *sorted(names.difference(_FIXED))]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _rows(entry: Order | UnreadableOrder) -> Iterator[dict[str, Any]]:
    if isinstance(entry, UnreadableOrder):
        yield {"order": entry.id, "state": entry.state, "error": entry.problem.code}
        return
    labels = {f"label.{name}": value for name, value in entry.request.labels.items()}
    for scan in entry.scans:
        yield {
            "order": entry.id,
            "state": entry.state.value,
            "algorithm": entry.request.algorithm,
            "created_at": rfc3339(entry.created_at),
            "updated_at": rfc3339(entry.updated_at),
            "created_by": entry.created_by,
            "scan": scan.id,
            "scan_state": scan.state.value,
            "error": _code(scan, entry),
            "warnings": " ".join(warning.code for warning in scan.warnings),
            "headline": scan.summary.get("headline", ""),
            **labels,
            **dict(_figures(scan.summary, "result")),
        }


def _code(scan: Scan, order: Order) -> str:
    error = scan.error or order.error or {}
    return str(error.get("code", ""))


def _figures(summary: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield the name and the value of each number of the summary, and of each text of a class."""
    for name, value in summary.items():
        path = f"{prefix}.{name}"
        if isinstance(value, Mapping):
            yield from _figures(value, path)
        elif isinstance(value, int | float) or path == "result.class":
            yield path, value


def _cell(value: Any) -> Any:
    """Return the value of a cell; a text that a spreadsheet would compute gets a quote before it.

    Labels come from callers: OWASP, "CSV Injection".
    """
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
