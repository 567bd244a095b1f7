"""Techcyte's report of the type `Basic`: figures as text, and one segment for each class."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from broker.orders.order import ScanWarning
from broker.orders.techcyte_options import Features
from worker.delivery.destinations.techcyte.features import NO_FEATURES, segment_features
from worker.results.json_text import strict_json
from worker.results.result import Result


def basic_fields(result: Result) -> dict[str, Any]:
    """Return the report as fields fit for JSON, without the features of its segments."""
    return {
        "type": "Basic",
        "results": [
            *_warning_lines(result.warnings),
            *_report_lines(result.findings.summary),
        ],
        "segments": [
            {"name": name, "result": str(count), "feature_collection": NO_FEATURES}
            for name, count in result.counts().items()
        ],
    }


def segment_pieces(
    result: Result, fields: dict[str, Any], in_segments: Features
) -> Iterator[bytes]:
    """Yield the JSON of each segment with the features of its class, separated by commas."""
    separator = b""
    for number, segment in enumerate(fields["segments"]):
        yield separator + b'{"feature_collection":{"type":"FeatureCollection","features":['
        yield from segment_features(result, in_segments, number)
        rest = {name: segment[name] for name in ("name", "result")}
        yield b"]}," + strict_json(rest)[1:]
        separator = b","


def _warning_lines(warnings: Sequence[ScanWarning]) -> Iterator[dict[str, str]]:
    for warning in warnings:
        yield {"name": f"Warning {warning.code}", "result": warning.detail}


def _report_lines(summary: Mapping[str, Any], prefix: str = "") -> Iterator[dict[str, str]]:
    """Yield one named line for each value; nested fields are named after all keys above them."""
    for key, value in summary.items():
        name = f"{prefix} {key}".replace("_", " ").strip()
        if isinstance(value, Mapping):
            yield from _report_lines(value, name)
        else:
            yield {"name": name[:1].upper() + name[1:], "result": _text(value)}


def _text(value: Any) -> str:
    """Return a measurement as the string that Techcyte requires."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str):
        return value
    if value is None:
        return "not available"
    return json.dumps(value)
