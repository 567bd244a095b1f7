"""Builds an `Order` from the reply of `lua/read.lua`. Knows the fields of the record, not Redis."""

import json
from typing import Any

from pydantic import ValidationError

from broker.errors import Problem
from broker.order_store.encryption import RequestEncryption, SealedError
from broker.order_store.keys import PAYLOAD_FIELD
from broker.orders.fields import PRIORITIES
from broker.orders.order import MAX_TIME_S, Act, Attempt, Order, OrderState, Scan, UnreadableOrder
from broker.orders.request import OrderRequest, shown_destination


class FieldError(ValueError):
    """A field of a record is wrong; the message repeats no value, which may be secret."""


def order_from(
    order_id: str, reply: list[Any], encryption: RequestEncryption
) -> Order | UnreadableOrder:
    """Return one order, from its hash, the hashes of its scans and its delivery attempts.

    A record that is damaged, encrypted with an unknown key or of a newer version gives an
    `UnreadableOrder`, so that it breaks no list.
    """
    try:
        return _order(order_id, reply, encryption)
    except SealedError as error:
        return _unreadable(order_id, reply, error.problem)
    except (LookupError, TypeError, ValueError, OverflowError, RecursionError) as error:
        problem = Problem(
            "record_unreadable",
            f"the record of order {order_id} cannot be read: {_reason(error)}",
            "it is damaged, or was written by a newer version; place the order again",
        )
        return _unreadable(order_id, reply, problem)


def _order(order_id: str, reply: list[Any], encryption: RequestEncryption) -> Order:
    order_hash, scan_hashes, attempts = reply
    fields = _pairs(order_hash)
    request = _request(fields, encryption)
    if fields.get("priority") in PRIORITIES:  # it may have been changed since
        request = request.model_copy(update={"priority": fields["priority"]})
    if len(scan_hashes) != len(request.scans):
        raise FieldError(f"it has {len(scan_hashes)} scans of {len(request.scans)}")
    state = _known_state(fields["state"])
    if state is None:
        raise FieldError("its state is not known to this version")
    # an older version stored the queue in the field `lane`
    queue = fields.get("classify_queue") or fields["lane"]
    return Order(
        id=order_id,
        state=state,
        request=request,
        shown_destination=_shown_destination(fields, request, encryption),
        queue=queue,
        created_by=fields.get("created_by", ""),
        acts=tuple(Act.model_validate(act) for act in _json(fields, "acts") or ()),
        created_at=_seconds(fields["created_at"]),
        updated_at=_seconds(fields["updated_at"]),
        expires_at=_seconds(fields["expires_at"]),
        cancel=fields["cancel"] == "1",
        resend=fields.get("resend") == "1",
        fence=int(fields["fence"]),
        scans=tuple(_scan(index, _pairs(scan)) for index, scan in enumerate(scan_hashes)),
        attempts=tuple(Attempt.model_validate_json(attempt) for attempt in attempts),
        attempts_before=int(fields.get("attempts_before", 0)),
        payload=_json(fields, PAYLOAD_FIELD) or {},
        error=_problem(fields),
    )


def _request(fields: dict[str, str], encryption: RequestEncryption) -> OrderRequest:
    """Return the request with its destination, which is gone once the order is delivered.

    An older version stored both in one field, and kept the destination.
    """
    text = encryption.decrypt(fields["request"])
    destination = fields.get("destination")
    if destination:
        whole = json.loads(text)
        whole["destination"] = json.loads(encryption.decrypt(destination))
        text = json.dumps(whole)
    return OrderRequest.model_validate_json(text)


def _shown_destination(
    fields: dict[str, str], request: OrderRequest, encryption: RequestEncryption
) -> dict[str, Any]:
    shown = fields.get("shown_destination")
    if not shown:
        return shown_destination(request.resolved_destination)
    destination = json.loads(encryption.decrypt(shown))
    if not isinstance(destination, dict) or not isinstance(destination.get("type"), str):
        raise FieldError("its destination has no type")
    return destination


def _unreadable(order_id: str, reply: Any, problem: Problem) -> UnreadableOrder:
    """Return what can be read of the record all the same."""
    try:
        fields = _pairs(reply[0])
    except (LookupError, TypeError, ValueError):
        fields = {}
    return UnreadableOrder(
        id=order_id,
        state=_known_state(fields.get("state")),
        created_at=_known_seconds(fields, "created_at"),
        updated_at=_known_seconds(fields, "updated_at"),
        expires_at=_known_seconds(fields, "expires_at"),
        problem=problem,
    )


def _known_state(text: str | None) -> OrderState | None:
    if text is None:
        return None
    try:
        return OrderState(text)
    except ValueError:
        return None


def _known_seconds(fields: dict[str, str], name: str) -> float | None:
    try:
        return _seconds(fields[name])
    except (LookupError, ValueError):
        return None


def _reason(error: Exception) -> str:
    """Return what is wrong. Values are not repeated, for they may be secret."""
    if isinstance(error, ValidationError):
        fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
        return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"[:200]
    if isinstance(error, KeyError):
        return f"the field {error.args[0]!r} is missing"
    if isinstance(error, RecursionError):
        return "a field is nested too deep"
    if isinstance(error, FieldError):
        return str(error)
    return type(error).__name__


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
            "looked_at": _json(fields, "looked_at") or {},
            "error": _problem(fields),
            "slide": _json(fields, "slide") or {},
            "started_at": _known_seconds(fields, "started_at"),
            "ended_at": _known_seconds(fields, "ended_at"),
            "staged_by": fields.get("staged_by") or 0,
            "result": fields.get("result", ""),
            "files": _json(fields, "files") or (),
            "kept": fields.get("kept", ""),
            "warnings": _json(fields, "warnings") or (),
            "judges_case": fields.get("judges_case") == "1",
            "fetch_attempts": fields.get("fetch_attempts") or 0,
            "classify_attempts": fields.get("classify_attempts") or 0,
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


def _problem(fields: dict[str, str]) -> dict[str, Any] | None:
    """Return the error of an order or a scan. Raise `FieldError` for one without a code."""
    error = _json(fields, "error")
    if error is None:
        return None
    if not isinstance(error, dict) or not isinstance(error.get("code"), str):
        raise FieldError("its error has no code")
    return error


def _seconds(milliseconds: str) -> float:
    """Return the time in seconds. Raise `ValueError` where no calendar shows it."""
    seconds = float(milliseconds) / 1000
    if not 0 <= seconds < MAX_TIME_S:
        raise FieldError("a time is out of range")
    return seconds
