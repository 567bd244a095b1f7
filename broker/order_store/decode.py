"""Builds an `Order` from the reply of `lua/read.lua`. Knows the fields of the record, not Redis."""

import json
from typing import Any

from broker.order_store.encryption import RequestEncryption
from broker.orders.order import Attempt, Order, OrderState, Scan
from broker.orders.request import OrderRequest

PAYLOAD_FIELD = "parcel"
"""The field of the stored payload in the record of an order; it is older than the word payload."""


def order_from(order_id: str, reply: list[Any], encryption: RequestEncryption) -> Order:
    """Return one order, from its hash, the hashes of its scans and its delivery attempts."""
    order_hash, scan_hashes, attempts = reply
    fields = _pairs(order_hash)
    # an older version stored the queue in the field `lane`
    queue = fields.get("classify_queue") or fields["lane"]
    return Order(
        id=order_id,
        state=OrderState(fields["state"]),
        request=OrderRequest.model_validate_json(encryption.decrypt(fields["request"])),
        queue=queue,
        created_at=_seconds(fields["created_at"]),
        updated_at=_seconds(fields["updated_at"]),
        expires_at=_seconds(fields["expires_at"]),
        cancel=fields["cancel"] == "1",
        resend=fields.get("resend") == "1",
        fence=int(fields["fence"]),
        scans=tuple(_scan(index, _pairs(scan)) for index, scan in enumerate(scan_hashes)),
        attempts=tuple(Attempt.model_validate_json(attempt) for attempt in attempts),
        payload=_json(fields, PAYLOAD_FIELD) or {},
        error=_json(fields, "error"),
    )


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
            "warnings": _json(fields, "warnings") or (),
        }
    )


def _pairs(flat: list[str]) -> dict[str, str]:
    """Return a hash from the list of its fields and values in turn."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _json(fields: dict[str, str], name: str) -> Any:
    """Return a field decoded from JSON, or None where it is missing or empty."""
    text = fields.get(name)
    if not text:
        return None
    return json.loads(text)


def _seconds(milliseconds: str) -> float:
    return float(milliseconds) / 1000
