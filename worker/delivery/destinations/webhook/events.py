"""What a webhook is told: the results of an order, or how it ended.

By Standard Webhooks 1.0: `type`, `timestamp` of the event and not of the attempt, so that every
attempt has the same bytes, and `data`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from broker.orders.order import Order, Scan
from broker.orders.result_files import FEATURES, OBJECTS_CSV, OVERLAY, RESULTS_JSON
from worker.results.json_text import strict_json
from worker.results.result import FailedScan, Result

MAX_BODY_BYTES: Final = 20_000
"""What the specification advises a body to stay below."""
DELIVERED: Final = "order.delivered"
_LINKED: Final = (RESULTS_JSON, FEATURES, OBJECTS_CSV, OVERLAY)
_MAX_ERROR_CHARS: Final = 500


def message_id(order_id: str, event: str) -> str:
    """Return `webhook-id`, made of order and event: the same for every attempt."""
    return f"{order_id}_{event.replace('.', '_')}"


def of_results(
    order_id: str,
    labels: Mapping[str, str],
    results: Sequence[Result],
    failed: Sequence[FailedScan],
) -> bytes:
    """Return the event `order.delivered` of an order whose destination is the webhook."""
    made_at = max(str(result.produced.get("at", "")) for result in results)
    data: dict[str, Any] = {"id": order_id, "labels": dict(labels), "state": "delivered"}
    if failed:
        data["failed_scans"] = [asdict(scan) for scan in failed]
    scans = [_of_result(order_id, result) for result in results]
    return _body(DELIVERED, made_at, data, scans)


def of_end(order: Order, event: str) -> bytes:
    """Return an event that says how an order ended, with the reason where it is no good end."""
    at = datetime.fromtimestamp(order.updated_at, UTC).isoformat(timespec="seconds")
    data: dict[str, Any] = {
        "id": order.id,
        "labels": dict(order.request.labels),
        "state": event.removeprefix("order."),
    }
    if order.error:
        data["error"] = _short(order.error)
    return _body(event, at, data, [_of_scan(order.id, scan) for scan in order.scans])


def _of_result(order_id: str, result: Result) -> dict[str, Any]:
    findings = result.findings
    return {
        "id": result.scan_id,
        "summary": findings.summary | {"headline": findings.headline},
        "warnings": [warning.model_dump() for warning in result.warnings],
        "links": _links(order_id, result.scan_id),
    }


def _of_scan(order_id: str, scan: Scan) -> dict[str, Any]:
    about: dict[str, Any] = {"id": scan.id, "state": scan.state.value}
    if scan.result:
        about["summary"] = scan.summary
        about["warnings"] = [warning.model_dump() for warning in scan.warnings]
        about["links"] = _links(order_id, scan.id)
    if scan.error:
        about["error"] = _short(scan.error)
    return about


def _links(order_id: str, scan_id: str) -> dict[str, str]:
    path = f"/v1/orders/{order_id}/scans/{scan_id}"
    return {name: f"{path}/{name}" for name in _LINKED}


def _short(error: Mapping[str, Any]) -> dict[str, str]:
    """Return code, detail and hint of an error as it is stored, each of limited length."""
    return {
        name: str(error[name])[:_MAX_ERROR_CHARS]
        for name in ("code", "detail", "hint", "blame")
        if error.get(name)
    }


def _body(
    event: str, timestamp: str, data: Mapping[str, Any], scans: Sequence[Mapping[str, Any]]
) -> bytes:
    """Return the event; what makes it too long is left out, the longest first."""
    for kept in (None, ("id", "state", "error", "links"), ("id", "state", "links"), ("id",)):
        shown = [_only(scan, kept) for scan in scans]
        about = dict(data)
        if kept == ("id",):
            about.pop("failed_scans", None)
        body = strict_json(
            {"type": event, "timestamp": timestamp, "data": about | {"scans": shown}}
        )
        if len(body) <= MAX_BODY_BYTES:
            break
    return body


def _only(scan: Mapping[str, Any], kept: Sequence[str] | None) -> dict[str, Any]:
    return {name: value for name, value in scan.items() if kept is None or name in kept}
