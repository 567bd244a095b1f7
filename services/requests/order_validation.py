"""Turns a JSON body into an `OrderRequest`, or into faults with field, value and remedy.

No fault repeats a secret.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from broker.errors import Problem
from broker.orders.request import (
    DeliverAgainRequest,
    Destination,
    GivenDestination,
    OrderRequest,
    resolved,
)
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
        "subject_id",
        "execution_id",
    }
)
"""Fields whose value may be repeated in a message.

Any other may hold a URL, a token or a secret that was put in the wrong place.
"""
URL_FIELDS = frozenset(
    {"url", "urls", "zip_url", "base_url", "confirm_url", "debug_file_upload_url"}
)
LATER_FIELDS = frozenset({"robustness"})
LATER_TYPES = frozenset({"dicomweb"})
LATER_HINT = "this version has it not yet; docs/limits.md says what else is missing"
HINTS = {
    "missing": "add it",
    "extra_forbidden": "remove it, or look its name up in /openapi.json",
    "union_tag_not_found": 'add "type"',
    "roi_form": "a GeoJSON geometry is given as geojson, like "
    '{"geojson": {"type": "Polygon", "coordinates": […]}}',
    "encloses_nothing": "draw it again with at least 3 points that do not lie on one line",
    "too_many_points": "simplify its outline; a region has at most 10,000 points",
}


def order_of(document: Any) -> OrderRequest:
    """Return the order that a JSON document describes. Raise `OrderError`."""
    try:
        # Parsed from text again: only then do pydantic's strict types take an array for a tuple
        # and a string for a date.
        return OrderRequest.model_validate_json(json.dumps(document))
    except ValidationError as error:
        details = error.errors(include_url=False)
    if details[0]["type"] == "json_invalid":
        raise json_body.refused(_short(details[0]["msg"]))
    raise ManyFaultsError([_fault(detail) for detail in _without_followers(details)[:MAX_FAULTS]])


def new_destination(raw: bytes) -> GivenDestination:
    """Return the destination of a body `{"destination": …}`. Raise `OrderError`."""
    json_body.parse(raw)
    return _destination_of_body(raw)


def whole_destination_of(fields: Mapping[str, Any]) -> Destination:
    """Return the destination that has these fields. Raise `OrderError`."""
    body = json.dumps({"destination": fields})
    return resolved(_destination_of_body(body))


def _destination_of_body(raw: str | bytes) -> GivenDestination:
    try:
        return DeliverAgainRequest.model_validate_json(raw).destination
    except ValidationError as error:
        details = error.errors(include_url=False)
    raise ManyFaultsError([_fault(detail) for detail in details[:MAX_FAULTS]])


def _without_followers(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Leave out that a list is too short where one of its items was refused.

    pydantic does not count a refused item.
    """
    parents: set[tuple[str | int, ...]] = set()
    for detail in details:
        loc = detail["loc"]
        parents.update(loc[:end] for end in range(len(loc)))
    return [
        detail
        for detail in details
        if detail["type"] != "too_short" or detail["loc"] not in parents
    ]


def field_path(loc: Sequence[str | int]) -> str:
    """Return the place in the document as people write it: `scans[0].roi.width`."""
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", part):
            path += f".{part}"
        else:
            path += f"[{json.dumps(part[:64])}]"
    return path.removeprefix(".")


def _short(text: str, limit: int = 300) -> str:
    if len(text) <= limit:
        return text
    return text[: limit - 1] + "…"


def _fault(detail: ErrorDetails) -> Problem:
    return fault_at(_without_tags(detail["loc"]), detail)


def fault_at(loc: tuple[str | int, ...], detail: ErrorDetails) -> Problem:
    """Return the fault that pydantic found, in our words and without secrets.

    `loc`: its place in the document, without what pydantic adds to that.
    """
    path = field_path(loc)
    leaf = ""
    if loc:
        leaf = str(loc[-1])
    message = _short(detail["msg"]).removeprefix("Value error, ")
    hint = HINTS.get(detail["type"], "")
    if _comes_later(leaf, detail):
        hint = LATER_HINT
    if detail["type"] == "too_long" and leaf == "polygon":
        hint = HINTS["too_many_points"]
    if detail["type"] == "value_error" and not URL_FIELDS.isdisjoint(loc[-2:]):
        # The message of the URL parser may quote a part of the URL.
        message = "this is not an http or https URL with a host"
        hint = "it looks like https://host/path, in printable ASCII; percent-encode the rest"
    where = path or "the body"
    text = f"{where}: {message}{_shown_value(leaf, detail)}"
    return Problem("request_invalid", text, hint, path)


def _comes_later(leaf: str, detail: ErrorDetails) -> bool:
    """Return whether the fault is a name that a later version will know."""
    if detail["type"] == "extra_forbidden":
        return leaf in LATER_FIELDS
    if detail["type"] == "union_tag_invalid":
        return detail["ctx"]["tag"] in LATER_TYPES
    return False


def _shown_value(leaf: str, detail: ErrorDetails) -> str:
    # An unknown field may hold anything, whatever its name.
    if detail["type"] == "extra_forbidden" or not _may_be_shown(leaf, detail["input"]):
        return ""
    shown = json.dumps(detail["input"], default=str)
    return f"; it is {_short(shown, 66)}"


def _may_be_shown(leaf: str, value: Any) -> bool:
    if leaf.isdecimal():
        # An item of a list: a coordinate or a URL.
        return isinstance(value, int | float)
    return leaf in SHOWN_FIELDS and not isinstance(value, dict | list)


def _without_tags(loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """Return the location without what pydantic adds to it.

    That is the type of a source, region, geometry or destination, how a destination is given, and
    `[key]`.
    """
    if loc[:2] == ("destination", "whole"):
        loc = loc[:1] + loc[3:]
    elif loc[:1] in (("destination",), ("notify",)):
        loc = loc[:1] + loc[2:]
    elif loc[:1] == ("scans",) and loc[2:3] in (("source",), ("roi",)):
        loc = loc[:3] + loc[4:]
        if loc[2:4] == ("roi", "geojson"):
            loc = loc[:4] + loc[5:]
    return tuple(part for part in loc if part != "[key]")
