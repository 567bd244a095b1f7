"""A JSON body becomes an `OrderRequest`, or faults that name field, value and remedy and never a secret."""

import json
import re
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from broker.errors import Problem
from broker.orders.request import OrderRequest
from services.requests import json_body
from services.responses.problems import ManyFaultsError

MAX_FAULTS = 20
SHOWN_FIELDS = frozenset(
    {
        "algorithm",
        "priority",
        "expires_at",
        "id",
        "x",
        "y",
        "width",
        "height",
        "mpp",
        "stain",
        "type",
        "protocol",
        "task_id",
        "case_id",
    }
)
"""Fields whose value may be repeated in a message. Any other may hold a URL, a token or a misplaced secret."""
URL_FIELDS = frozenset({"url", "urls", "zip_url", "base_url"})
HINTS = {
    "missing": "add it",
    "extra_forbidden": "remove it, or look its name up in /openapi.json",
    "union_tag_not_found": 'add "type"',
}


def order_request(raw: bytes) -> tuple[OrderRequest, Any]:
    """The order that is asked for, and the JSON document as it came. Raises `OrderError`."""
    document = json_body.parse(raw)
    try:
        # From the bytes again: strict types are JSON's own there (an array is a tuple, a string is a date).
        return OrderRequest.model_validate_json(raw), document
    except ValidationError as error:
        details = error.errors(include_url=False)
    if details[0]["type"] == "json_invalid":
        raise json_body.refused(_short(details[0]["msg"]))
    raise ManyFaultsError([_fault(detail) for detail in _first_hand(details)[:MAX_FAULTS]])


def _first_hand(details: list[ErrorDetails]) -> list[ErrorDetails]:
    # pydantic calls a list too short when what stands in it was refused, and that was told already.
    told = {detail["loc"][:end] for detail in details for end in range(len(detail["loc"]))}
    return [
        detail for detail in details if detail["type"] != "too_short" or detail["loc"] not in told
    ]


def field_path(loc: Sequence[str | int]) -> str:
    """The place in the document as people write it: `scans[0].roi.width`."""
    path = ""
    for step in loc:
        if isinstance(step, int):
            path += f"[{step}]"
        elif re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", step):
            path += f".{step}" if path else step
        else:
            path += f"[{json.dumps(step[:64])}]"
    return path


def _short(text: str) -> str:
    return text if len(text) <= 300 else text[:299] + "…"


def _fault(detail: ErrorDetails) -> Problem:
    loc = _without_tags(detail["loc"])
    path = field_path(loc)
    leaf = str(loc[-1]) if loc else ""
    message, hint = (
        _short(detail["msg"]).removeprefix("Value error, "),
        HINTS.get(detail["type"], ""),
    )
    if detail["type"] == "value_error" and not URL_FIELDS.isdisjoint(loc[-2:]):
        # The parser's own words may quote a piece of the URL.
        message = "this is not an http or https URL with a host"
        hint = "it looks like https://host/path, in printable ASCII; percent-encode the rest"
    value = _value(leaf, detail)
    return Problem(
        "request_invalid", f"{path or 'the body'}: {message}{value}", hint, path, "input"
    )


def _value(leaf: str, detail: ErrorDetails) -> str:
    # A field that does not belong where it stands may hold anything, whatever its name.
    if detail["type"] == "extra_forbidden" or not _may_be_shown(leaf, detail["input"]):
        return ""
    shown = json.dumps(detail["input"], default=str)
    return f"; it is {shown if len(shown) <= 66 else shown[:65] + '…'}"


def _may_be_shown(leaf: str, value: Any) -> bool:
    if leaf.isdecimal():  # in a list: of coordinates, or of URLs
        return isinstance(value, int | float)
    return leaf in SHOWN_FIELDS and not isinstance(value, dict | list)


def _without_tags(loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """The location without what pydantic adds to it: the chosen kind of a source, region or destination, `[key]`."""
    if loc[:1] == ("destination",):
        loc = loc[:1] + loc[2:]
    elif loc[:1] == ("scans",) and loc[2:3] in (("source",), ("roi",)):
        loc = loc[:3] + loc[4:]
    return tuple(step for step in loc if step != "[key]")
