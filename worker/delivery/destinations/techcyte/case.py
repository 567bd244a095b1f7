"""What a post says of the whole case, beside its scans: `caseResults`, which is free in form."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from broker.orders.order import ScanWarning
from broker.orders.techcyte_options import CaseResults
from worker.results.result import Result


def case_results(wanted: CaseResults | None, results: Sequence[Result]) -> Mapping[str, Any] | None:
    """Return `caseResults` as the order wants them; None where the post has none.

    An object is sent as it is. True stands for the one answer for all scans, where the algorithm
    gives one. Its warnings are those of all scans, for all of them are what it is made of.
    """
    if isinstance(wanted, Mapping):
        return wanted
    first = results[0]
    case = first.findings.summary.get("case")
    if not wanted or first.card.scope != "case" or not isinstance(case, Mapping):
        return None
    warnings = [
        {"scan": result.scan_id, **warning.model_dump()}
        for result in results
        for warning in result.warnings
    ]
    return {
        "summary": with_warnings(first.findings.headline, _each_once(results)),
        **case,
        "warnings": warnings,
        "order_id": first.order_id,
        "algorithm": made_by(first),
        "ruo": first.card.ruo,
    }


def made_by(result: Result) -> dict[str, str]:
    """Return which algorithm made a result."""
    card = result.card
    return {"name": card.name, "version": card.version, "digest": card.digest}


def with_warnings(headline: str, warnings: Iterable[ScanWarning]) -> str:
    """Return the headline, after the warnings: nobody must read the figure without them."""
    parts = [f"WARNING {warning.code}: {warning.detail}." for warning in warnings]
    return " ".join([*parts, headline])


def _each_once(results: Sequence[Result]) -> list[ScanWarning]:
    """Return the warnings of all scans; one that stands with several scans stands once."""
    return list(dict.fromkeys(warning for result in results for warning in result.warnings))
