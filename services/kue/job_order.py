"""Makes an order of a job: which slide, which region and where its results go.

The data of a job are those of caMicroscope's viewer 2.x. What they say of the program that they
were meant for is passed over, except microns per pixel.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic import SecretStr

from broker.errors import OrderError
from broker.orders.fields import COARSEST_MPP, FINEST_MPP
from broker.settings.services.kue import KueSettings, KueType
from services.kue.sent_job import SentJob, order_priority
from services.requests.named_destinations import completed

_SCAN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_LONGEST_LABEL: Final = 256
_WHOLE: Final = re.compile(r"\s*(-?[0-9]{1,15})(\.0*)?\s*")
_BOX: Final = ("x", "y", "w", "h")
_LONG_NAMES: Final = {"w": "width", "h": "height"}


def order_document(
    number: int,
    job: SentJob,
    settings: KueSettings,
    destinations: Mapping[str, Mapping[str, SecretStr]],
) -> dict[str, Any]:
    """Return the order of a job, as it would be sent to `POST /v1/orders`. Raise `OrderError`."""
    sent = job.sent
    if job.wrong:
        raise _fault("options.priority", job.wrong)
    chosen = settings.types.get(sent.type)
    if chosen is None:
        raise OrderError(
            "algorithm_unknown",
            f"type: no algorithm is set for jobs of the type {sent.type!r}",
            hint=f"services.kue.types has {', '.join(sorted(settings.types))}",
            field="type",
        )
    data = _mapping(sent.data)
    order = _mapping(data.get("order"))
    case_id = _case_of(order)
    run = _run_of(data, order)
    document: dict[str, Any] = {
        "algorithm": chosen.algorithm,
        "parameters": dict(chosen.parameters),
        "scans": [_scan(order, case_id, chosen)],
        "destination": completed(chosen, destinations, _added(order, case_id, run)),
        "priority": order_priority(sent.priority, settings.max_priority),
        "labels": _labels(number, case_id, run),
    }
    if sent.delay_ms:
        document["delay_s"] = sent.delay_ms / 1000
    if job.has_attempts:
        document["attempts"] = sent.attempts
    return document


def _case_of(order: Mapping[str, Any]) -> str:
    case_id = _text(_mapping(order.get("image")).get("case_id"))
    if not case_id:
        raise _fault("data.order.image.case_id", "there is none, so no slide can be found")
    return case_id


def _run_of(data: Mapping[str, Any], order: Mapping[str, Any]) -> str:
    """Return by what name the viewer will ask for what was found; empty where it says none."""
    execution = _mapping(order.get("execution"))
    return _text(data.get("execution_id")) or _text(execution.get("execution_id"))


def _added(order: Mapping[str, Any], case_id: str, run: str) -> dict[str, str]:
    """Return what a job adds to the destination of the settings, where that can take it."""
    added = {"case_id": case_id, "slide": case_id}
    subject_id = _text(_mapping(order.get("image")).get("subject_id"))
    if subject_id:
        added["subject_id"] = subject_id
    if run:
        added["execution_id"] = run
    return added


def _labels(number: int, case_id: str, run: str) -> dict[str, str]:
    labels = {"kue": str(number), "case": case_id}
    if run:
        labels["execution"] = run
    return {name: value for name, value in labels.items() if len(value) <= _LONGEST_LABEL}


def _scan(order: Mapping[str, Any], case_id: str, chosen: KueType) -> dict[str, Any]:
    scan_id = case_id
    if not _SCAN_ID.fullmatch(scan_id):
        scan_id = "1"
    scan: dict[str, Any] = {"id": scan_id, "source": {"type": "case", "case_id": case_id}}
    region = _region(_mapping(order.get("roi")))
    if region is not None:
        scan["roi"] = region
    mpp = _decimal(order.get("pm"))
    if mpp is None or not FINEST_MPP < mpp < COARSEST_MPP:
        mpp = chosen.mpp
    if mpp is not None:
        scan["mpp"] = mpp
    return scan


def _region(roi: Mapping[str, Any]) -> Any:
    """Return the region as an order has it, None for the whole slide. Raise `OrderError`.

    Of `full`, `square` and `pct` the first that is true counts; they come as texts.
    """
    if not roi:
        return None
    if _is_true(roi.get("full")):
        return "full"
    if _is_true(roi.get("square")):
        return "square"
    if _is_true(roi.get("pct")):
        shares = {name: _decimal(_side(roi, name)) for name in _BOX}
        _refuse_missing(shares)
        return {"pct": [shares[name] for name in _BOX]}
    sides = {name: _whole(_side(roi, name)) for name in _BOX}
    _refuse_missing(sides)
    return {"x": sides["x"], "y": sides["y"], "width": sides["w"], "height": sides["h"]}


def _side(roi: Mapping[str, Any], name: str) -> Any:
    """Return a number of the region; the size may also be given by its long name."""
    if name in roi:
        return roi[name]
    return roi.get(_LONG_NAMES.get(name, ""))


def _refuse_missing(numbers: Mapping[str, float | None]) -> None:
    for name, number in numbers.items():
        if number is None:
            raise _fault(f"data.order.roi.{name}", "a number is expected, which may be a text")


def _is_true(value: Any) -> bool:
    return value is True or (isinstance(value, str) and value.strip().lower() == "true")


def _whole(value: Any) -> int | None:
    """Return a whole number that may be given as text, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    found = _WHOLE.fullmatch(str(value))
    if found is None:
        return None
    return int(found[1])


def _decimal(value: Any) -> float | None:
    """Return a number that may be given as text, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    return number


def _mapping(value: Any) -> Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    return {}


def _text(value: Any) -> str:
    """Return a text, or a number as one; empty for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return str(value).strip()


def _fault(field: str, why: str) -> OrderError:
    return OrderError(
        "request_invalid",
        f"{field}: {why}",
        hint="docs/connect-camicroscope-2.md shows what a viewer sends",
        field=field,
    )
