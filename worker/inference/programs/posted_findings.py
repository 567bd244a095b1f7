"""The figures and the headline of what a program has posted."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from worker.geometry.frame import Area, Frame
from worker.geometry.roi import size_mm2

_MOST_LINES: Final = 50
_TEXT_CHARS: Final = 200
_MOST_RESULTS_BYTES: Final = 4000
_HEADLINE_CHARS: Final = 300
_LINES_IN_HEADLINE: Final = 3


def summary_of(
    scan: Mapping[str, Any], counts: Mapping[str, int], frame: Frame, area: Area
) -> dict[str, Any]:
    """Return figures fit for JSON: the objects of each class, and the lines of the report.

    What the program states of the scan in `results` is added where it is short.
    """
    total = sum(counts.values())
    summary: dict[str, Any] = {"objects": total, "objects_by_class": dict(counts)}
    if frame.mpp_x is not None and frame.mpp_y is not None:
        area_mm2 = size_mm2(area, frame)
        summary["area_mm2"] = area_mm2
        summary["objects_per_mm2"] = total / area_mm2
    workflow = scan.get("workflow") or {}
    lines = (workflow.get("report") or {}).get("results") or ()
    if lines:
        summary["report"] = {
            line["name"][:_TEXT_CHARS]: line["result"][:_TEXT_CHARS] for line in lines[:_MOST_LINES]
        }
    results = scan.get("results")
    if results and len(orjson.dumps(results)) <= _MOST_RESULTS_BYTES:
        summary["results"] = results
    return summary


def headline_of(scan: Mapping[str, Any], counts: Mapping[str, int]) -> str:
    """Return one line for people: the program's own words, else how much it has found."""
    for text in _own_headlines(scan):
        if text:
            return " ".join(text.split())[:_HEADLINE_CHARS]
    shares = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    headline = f"{sum(counts.values()):,} objects"
    if shares:
        headline = f"{headline}: {shares}"
    return headline[:_HEADLINE_CHARS]


def _own_headlines(scan: Mapping[str, Any]) -> list[str]:
    """Return what the program says itself, the best first; parts may be empty."""
    results = scan.get("results") or {}
    workflow = scan.get("workflow") or {}
    lines = (workflow.get("report") or {}).get("results") or ()
    pair = ": ".join(filter(None, (workflow.get("key"), workflow.get("value"))))
    if not workflow.get("value"):
        pair = ""
    report = ", ".join(f"{line['name']}: {line['result']}" for line in lines[:_LINES_IN_HEADLINE])
    return [results.get("summary") or "", pair, report]
