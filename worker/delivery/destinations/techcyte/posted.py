"""What programs and code of the site wrote for Techcyte themselves, as parts of the one post.

It is passed on as it came. We only add the order's id to `results`, by which we recognise it in
`case_evaluations`: a post of Techcyte's template holds nothing else that comes back there.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from broker.errors import OrderError
from worker.results.result import Result
from worker.results.techcyte_rules.posted import PostRefusedError, parse_posted


def posted_scan(result: Result, posted: Path, stated: dict[str, Mapping[str, Any]]) -> bytes:
    """Return the JSON of the scan in the body that `posted` holds, with the order's id.

    What the body states of the case is added to `stated`, by the scan's id. Raise
    `OrderError("parcel_invalid")` for a body that breaks a rule or is of another scan: the file
    may have been written by the process of the site's code.
    """
    try:
        body = parse_posted(posted.read_bytes())
    except PostRefusedError as error:
        raise _refused(result, str(error)) from None
    ids = [scan["scanId"] for scan in body["scanResults"]]
    if ids != [result.scan_id]:
        raise _refused(result, f"it holds the scans {ids}")
    (scan,) = body["scanResults"]
    if body.get("caseResults") is not None:
        stated[result.scan_id] = body["caseResults"]
    own = scan.get("results") or {}
    return orjson.dumps({**scan, "results": {**own, "order_id": result.order_id}})


def _refused(result: Result, why: str) -> OrderError:
    return OrderError(
        "parcel_invalid", f"what was posted for scan {result.scan_id} cannot be passed on: {why}"
    )


def merged_case_results(cases: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the results of the case that the runs of several scans state, by the scans' ids.

    A value that all who state it state alike is there once. Where they differ, each is there with
    the scan behind its name: nothing is lost, and no scan speaks for another.
    """
    by_name: dict[str, dict[str, Any]] = {}
    for scan, fields in cases.items():
        for name, value in fields.items():
            by_name.setdefault(name, {})[scan] = value
    merged: dict[str, Any] = {}
    for name, values in by_name.items():
        first = next(iter(values.values()))
        if all(value == first for value in values.values()):
            merged[name] = first
        else:
            merged |= {f"{name} (scan {scan})": value for scan, value in values.items()}
    return merged
