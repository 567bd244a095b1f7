"""results.json: one scan's result for people and programs. It holds no times: the same result is the same bytes."""

from typing import Any

from worker.results.json_text import strict_json
from worker.results.result import Result

SCHEMA = "slidelane.results/1"


def document(result: Result) -> dict[str, Any]:
    """The result as JSON-ready fields; areas and lengths in level-0 pixels."""
    card, findings = result.card, result.findings
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
        "counts": result.counts(),
        "provenance": result.provenance,
    }


def encode(result: Result) -> bytes:
    """The document as a file's bytes."""
    return strict_json(document(result), indent=2) + b"\n"
