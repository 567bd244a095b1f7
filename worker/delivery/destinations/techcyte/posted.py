"""The results post of an order whose scans were looked at by programs: what each of them posted.

It is passed on as it came, in one post for all scans. We only add the order's id to `results`, by
which we recognise it in `case_evaluations`: a post of Techcyte's template holds nothing else that
comes back there.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import orjson

from broker.errors import OrderError
from worker.results.result import Result


def is_posted(results: Sequence[Result]) -> bool:
    """Return whether programs have posted these results."""
    return any(result.posted is not None for result in results)


class _Sink(Protocol):
    def write(self, piece: bytes, /) -> object: ...


def write_posted(
    results: Sequence[Result],
    failed: Sequence[Mapping[str, Any]],
    of_the_case: Mapping[str, Any] | None,
    file: _Sink,
) -> None:
    """Write the body with every scan; `failed` are scans without results, as they are sent.

    `of_the_case` are results of the case that the order wants, in place of what the programs state
    of it. One scan at a time is in memory. Raise `OrderError("parcel_invalid")` for a result
    without what was posted.
    """
    cases: dict[str, dict[str, Any]] = {}
    file.write(b'{"scanResults":[')
    for number, scan in enumerate(_scans(results, cases)):
        if number:
            file.write(b",")
        file.write(orjson.dumps(scan))
    for fields in failed:
        file.write(b"," + orjson.dumps(fields))
    file.write(b"]")
    if of_the_case is None and cases:
        of_the_case = merged_case_results(cases)
    if of_the_case is not None:
        file.write(b',"caseResults":' + orjson.dumps(of_the_case))
    file.write(b"}")


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


def _scans(results: Sequence[Result], cases: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield each scan as its program posted it, with the order's id; collect the cases' results."""
    for result in results:
        if result.posted is None:
            raise OrderError(
                "parcel_invalid",
                f"what was posted for scan {result.scan_id} is not kept",
                hint="order it again",
            )
        posted = orjson.loads(result.posted.read_bytes())
        (scan,) = posted["scanResults"]
        own = scan.get("results") or {}
        if posted.get("caseResults") is not None:
            cases[result.scan_id] = posted["caseResults"]
        yield {**scan, "results": {**own, "order_id": result.order_id}}
