"""Reads what `lua/read.lua` answers into an `Order`. Knows the fields of the record and nothing of Redis."""

import json
from typing import Any

from broker.order_store.encryption import RequestEncryption
from broker.orders.order import Attempt, Order, OrderState, Scan
from broker.orders.request import OrderRequest


def _pairs(flat: list[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _json(fields: dict[str, str], name: str) -> Any:
    return json.loads(fields[name]) if fields.get(name) else None


def _scan(index: int, fields: dict[str, str]) -> Scan:
    return Scan.model_validate(
        {
            "index": index,
            "id": fields["id"],
            "state": fields["state"],
            "fence": fields["fence"],
            "attempts": fields["attempts"],
            "worker": fields.get("worker", ""),
            "progress": _json(fields, "progress") or {},
            "timings": _json(fields, "timings") or {},
            "summary": _json(fields, "summary") or {},
            "error": _json(fields, "error"),
            "slide": _json(fields, "slide") or {},
            "staged_by": fields.get("staged_by") or 0,
            "result": fields.get("result", ""),
        }
    )


def _seconds(milliseconds: str) -> float:
    return float(milliseconds) / 1000


def order_from(order_id: str, answer: list[Any], seal: RequestEncryption) -> Order:
    """One order from its three parts: its hash, the hashes of its scans, its delivery attempts."""
    flat, scans, attempts = answer
    fields = _pairs(flat)
    return Order(
        id=order_id,
        state=OrderState(fields["state"]),
        request=OrderRequest.model_validate_json(seal.open(fields["request"])),
        queue=fields.get("classify_queue") or fields["lane"],
        created_at=_seconds(fields["created_at"]),
        updated_at=_seconds(fields["updated_at"]),
        expires_at=_seconds(fields["expires_at"]),
        cancel=fields["cancel"] == "1",
        resend=fields.get("resend") == "1",
        fence=int(fields["fence"]),
        scans=tuple(_scan(index, _pairs(scan)) for index, scan in enumerate(scans)),
        attempts=tuple(Attempt.model_validate_json(attempt) for attempt in attempts),
        parcel=_json(fields, "parcel") or {},
        error=_json(fields, "error"),
    )
