"""Encodes results.json: the result of one scan for people and programs.

The same result is the same bytes; its date is that of the result, not that of the file.
"""

from typing import Any

from worker.results.json_text import strict_json
from worker.results.result import Result

SCHEMA = "slidelane.results/1"


def document(result: Result) -> dict[str, Any]:
    """Return the result as fields fit for JSON; areas and lengths are in level-0 pixels."""
    card = result.card
    findings = result.findings
    return {
        "schema": SCHEMA,
        "order": result.order_id,
        "scan": result.scan_id,
        "algorithm": {"name": card.name, "version": card.version, "digest": card.digest},
        "parameters": result.parameters,
        "ruo": card.ruo,
        "frame": findings.frame.as_dict(),
        "area": findings.area.as_dict(),
        "headline": findings.headline,
        "summary": findings.summary,
        "warnings": [warning.model_dump() for warning in result.warnings],
        "counts": result.counts(),
        "provenance": result.provenance,
        "produced": result.produced,
    }


def encode(result: Result) -> bytes:
    """Return the content of the file."""
    return strict_json(document(result), indent=2) + b"\n"
