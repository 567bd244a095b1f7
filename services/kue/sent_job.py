"""Reads a job as clients of Kue send it: numbers may be texts, and unknown options are passed over.

PHP sends every leaf of an order as text, and leaves empty lists and objects out.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from broker.order_store.kue import KueSent
from broker.orders.fields import PRIORITIES, Priority
from services.kue.answers import KueRefusedError

NO_TYPE: Final = "Must provide job type"
PRIORITY_NAMES: Final[Mapping[str, int]] = {
    "low": 10,
    "normal": 0,
    "medium": -5,
    "high": -10,
    "critical": -15,
}
LARGEST_PRIORITY: Final = 10**9
MAX_ATTEMPTS: Final = 20
"""The most that an order takes; a job that asks for more gets these."""
_LONGEST_TYPE: Final = 64
_LONGEST_TIME_MS: Final = 10**12


@dataclass(frozen=True, slots=True)
class SentJob:
    """A job that Kue would take. `wrong`: what of it no order can have, or nothing."""

    sent: KueSent
    has_attempts: bool
    wrong: str = ""


def job_of(document: Any, *, is_told: bool) -> SentJob:
    """Return the job of a document. Raise `KueRefusedError` for what Kue refuses.

    A text as `backoff`, which Kue would run as a program, is refused too.
    """
    if not isinstance(document, dict):
        raise KueRefusedError(NO_TYPE)
    kind = _type_of(document.get("type"))
    options = document.get("options")
    if not isinstance(options, dict):
        options = {}
    if isinstance(options.get("backoff"), str) and options["backoff"]:
        raise KueRefusedError("options.backoff: a text is not taken, because Kue would run it")
    priority = priority_of(options.get("priority"))
    wrong = ""
    if priority is None:
        wrong = "options.priority is none of low, normal, medium, high, critical, and no number"
    attempts = _whole(options.get("attempts"))
    sent = KueSent(
        type=kind,
        data=document.get("data") or {},
        priority=priority or 0,
        attempts=min(max(attempts, 1), MAX_ATTEMPTS),
        delay_ms=_time_ms(options.get("delay")),
        ttl_ms=_time_ms(options.get("ttl")),
        is_told=is_told,
    )
    return SentJob(sent, attempts >= 1, wrong)


def priority_of(value: Any) -> int | None:
    """Return a priority as Kue counts, the lower the sooner; None for what is none.

    It is a name, a number, or a text that holds one; nothing is `normal`.
    """
    if value in (None, "", False, 0):
        return 0
    if isinstance(value, str) and value in PRIORITY_NAMES:
        return PRIORITY_NAMES[value]
    number = _number(value)
    if math.isnan(number) or abs(number) > LARGEST_PRIORITY:
        return None
    return int(number)


def order_priority(priority: int, highest: Priority) -> Priority:
    """Return the priority of an order for Kue's, at most `highest`.

    Above 0 is `low`, above -5 `normal`, above -15 `high`, and the rest `urgent`.
    """
    wanted: Priority = "urgent"
    if priority > PRIORITY_NAMES["normal"]:
        wanted = "low"
    elif priority > PRIORITY_NAMES["medium"]:
        wanted = "normal"
    elif priority > PRIORITY_NAMES["critical"]:
        wanted = "high"
    return min(wanted, highest, key=PRIORITIES.index)


def _type_of(value: Any) -> str:
    """Return the type of a job as text. Raise `KueRefusedError`."""
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not value:
        raise KueRefusedError(NO_TYPE)
    kind = str(value)
    if len(kind) > _LONGEST_TYPE or not kind.isprintable():
        raise KueRefusedError(f"type: it is printable, of at most {_LONGEST_TYPE} characters")
    return kind


def _time_ms(value: Any) -> int:
    """Return a time in whole milliseconds, 0 for anything that is none, as Kue does."""
    number = _number(value)
    if math.isnan(number) or number <= 0:
        return 0
    return int(min(number, _LONGEST_TIME_MS))


def _whole(value: Any) -> int:
    """Return a whole number, 0 for anything that is none."""
    number = _number(value)
    if math.isnan(number):
        return 0
    return int(max(-1, min(number, LARGEST_PRIORITY)))


def _number(value: Any) -> float:
    """Return a number that may be given as text, or NaN."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return math.nan
    try:
        number = float(value)
    except ValueError:
        return math.nan
    if math.isinf(number):
        return math.nan
    return number
