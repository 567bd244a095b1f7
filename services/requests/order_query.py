"""Reads the query parameters of `GET /v1/orders`."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, Field
from starlette.datastructures import QueryParams

from broker.errors import OrderError
from broker.orders.order import OrderState
from services.auth import Caller
from services.responses.views import OrderView, UnreadableOrderView


class Limits(NamedTuple):
    """How many orders are answered."""

    default: int
    most: int


MAX_LIMIT = 200
PAGE_LIMITS: Final = Limits(50, MAX_LIMIT)
CSV_LIMITS: Final = Limits(1000, 10_000)
MAX_TAIL = 1000
"""More lines than the log of an order keeps."""
STATES = tuple(state.value for state in OrderState)
KNOWN = ("state", "algorithm", "created_by", "cursor", "limit")
MAX_LABEL_CHARACTERS = 256
ALGORITHM = re.compile(r"^[a-z][a-z0-9_-]{0,63}$")
VALIDATE_ONLY: Final = "validate_only"
CURSOR_PATTERN = r"^[0-9]{1,15}$"
"""What the order store hands out; it checks a cursor itself."""
LABEL = re.compile(r"label\.([A-Za-z0-9_-]{1,64})")


class OrdersView(BaseModel):
    """A page of orders, newest first."""

    orders: list[OrderView | UnreadableOrderView]
    next: str | None = Field(description="`cursor` of the following page; null at the end")


def _documented(name: str, about: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": about, "schema": schema}


PARAMETERS: dict[str, Any] = {
    "parameters": [
        _documented("state", "only orders in this state", {"type": "string", "enum": list(STATES)}),
        _documented(
            "algorithm",
            "only orders for this algorithm",
            {"type": "string", "pattern": ALGORITHM.pattern},
        ),
        _documented(
            "created_by", "only orders that came with the API key of this name", {"type": "string"}
        ),
        _documented(
            "label.case",
            "only orders whose label `case` has this value; any label's name will do",
            {"type": "string", "maxLength": MAX_LABEL_CHARACTERS},
        ),
        _documented(
            "cursor", "`next` of the page before", {"type": "string", "pattern": CURSOR_PATTERN}
        ),
        _documented(
            "limit",
            "orders per page",
            {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 50},
        ),
    ]
}


CSV_PARAMETERS: dict[str, Any] = {
    "parameters": [
        *PARAMETERS["parameters"][:-1],
        _documented(
            "limit",
            "orders in the table",
            {
                "type": "integer",
                "minimum": 1,
                "maximum": CSV_LIMITS.most,
                "default": CSV_LIMITS.default,
            },
        ),
    ]
}


LOG_PARAMETERS: dict[str, Any] = {
    "parameters": [
        _documented(
            "tail",
            "only so many of the last lines; absent: all that are kept",
            {"type": "integer", "minimum": 1, "maximum": MAX_TAIL},
        ),
        _documented(
            "follow",
            "`1`: the answer goes on with each further line until the order has ended",
            {"type": "integer", "enum": [0, 1], "default": 0},
        ),
    ]
}


def is_validation_only(given: QueryParams) -> bool:
    """Return whether an order is only to be looked at and not placed. Raise `OrderError`."""
    value = given.get(VALIDATE_ONLY, "false").lower()
    if value not in ("true", "false", "1", "0"):
        raise _refused(VALIDATE_ONLY, "this is true or false", "send true, or leave it out")
    return value in ("true", "1")


def refuse_parameters(
    given: QueryParams, known: Collection[str], *, has_labels: bool = False
) -> None:
    """Raise `OrderError` for a parameter that is unknown or given twice.

    With `has_labels` each label is known, too. Ignoring an unknown filter would show other orders
    than the caller asked for.
    """
    for name, _ in given.multi_items():
        is_label = has_labels and LABEL.fullmatch(name) is not None
        if name not in known and not is_label:
            raise _refused(
                name[:64],
                "this query parameter is not known here",
                f"there are: {_listed(known, has_labels=has_labels)}",
            )
        if len(given.getlist(name)) > 1:
            raise _refused(name, "this query parameter is given twice", "give it once")


def _listed(known: Collection[str], *, has_labels: bool) -> str:
    names = [*known]
    if has_labels:
        names.append("label.NAME")
    return ", ".join(names) or "none"


def query(given: QueryParams, limits: Limits = PAGE_LIMITS) -> dict[str, Any]:
    """Return the arguments of `OrderStore.find`, with a limit within `limits`.

    Raise `OrderError("request_invalid")` with the parameter as its field.
    """
    refuse_parameters(given, KNOWN, has_labels=True)
    return {
        "state": _state(given.get("state")),
        "algorithm": _algorithm(given.get("algorithm")),
        "labels": _labels(given),
        "created_by": given.get("created_by"),
        "cursor": given.get("cursor"),
        "limit": _limit(given.get("limit"), limits),
    }


def asks_for_others(query: dict[str, Any], caller: Caller) -> bool:
    """Return whether orders are asked for that the caller may not see; limit the query to others.

    A key that sees its own orders only gets those alone.
    """
    if not caller.own_orders_only:
        return False
    if query["created_by"] not in (None, caller.name):
        return True
    query["created_by"] = caller.name
    return False


@dataclass(frozen=True, slots=True)
class LogQuery:
    """How many of the last lines of a log are asked for, 0 = all, and whether further ones are."""

    tail: int
    follow: bool


def log_query(given: QueryParams) -> LogQuery:
    """Return what is asked for of a log.

    Raise `OrderError("request_invalid")` with the parameter as its field.
    """
    refuse_parameters(given, ("tail", "follow"))
    follow = given.get("follow", "0")
    if follow not in ("0", "1"):
        raise _refused("follow", f"{follow[:64]!r} is neither 0 nor 1", "1 follows the log")
    return LogQuery(_tail(given.get("tail")), follow == "1")


def _tail(text: str | None) -> int:
    if text is None:
        return 0
    if not re.fullmatch(r"\d{1,4}", text, re.ASCII) or not 1 <= int(text) <= MAX_TAIL:
        raise _refused(
            "tail",
            f"{text[:64]!r} is not a number from 1 to {MAX_TAIL}",
            "without tail, all lines are there",
        )
    return int(text)


def _refused(field: str, why: str, hint: str) -> OrderError:
    return OrderError("request_invalid", f"{field}: {why}", hint=hint, field=field)


def _state(given: str | None) -> OrderState | None:
    if given is None:
        return None
    if given not in STATES:
        raise _refused(
            "state", f"{given[:64]!r} is not a state of an order", f"there are: {', '.join(STATES)}"
        )
    return OrderState(given)


def _algorithm(given: str | None) -> str | None:
    if given is not None and not ALGORITHM.fullmatch(given):
        raise _refused(
            "algorithm", f"{given[:64]!r} is no name of an algorithm", "see GET /v1/algorithms"
        )
    return given


def _labels(given: QueryParams) -> Mapping[str, str]:
    labels = {
        name.removeprefix("label."): value for name, value in given.items() if LABEL.fullmatch(name)
    }
    for name, value in labels.items():
        if len(value) > MAX_LABEL_CHARACTERS:
            raise _refused(
                f"label.{name}",
                f"a label holds at most {MAX_LABEL_CHARACTERS} characters",
                "shorten it",
            )
    return labels


def _limit(given: str | None, limits: Limits) -> int:
    if given is None:
        return limits.default
    if not re.fullmatch(r"\d{1,5}", given, re.ASCII) or not 1 <= int(given) <= limits.most:
        raise _refused(
            "limit",
            f"{given[:64]!r} is not a number from 1 to {limits.most}",
            f"the default is {limits.default}",
        )
    return int(given)
