"""The body of Techcyte's external results post: every scan of the order in one post.

One post ends the task, so all scans must be in it. Coordinates are level-0 pixels, x right, y down.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Self

from broker.errors import OrderError
from broker.orders.request import TechcyteDestination
from broker.orders.techcyte_options import CaseResults, Features, FeaturesIn, QcFailReasons
from broker.settings.worker import TechcyteDeliverySettings
from worker.delivery.destinations.techcyte.case import case_results, made_by, with_warnings
from worker.delivery.destinations.techcyte.features import NO_FEATURES, annotations
from worker.delivery.destinations.techcyte.posted import merged_case_results, posted_scan
from worker.delivery.destinations.techcyte.quality import qc_fail_reasons
from worker.delivery.destinations.techcyte.reports import report_fields, report_pieces
from worker.results.json_text import strict_json
from worker.results.result import FailedScan, Result
from worker.results.techcyte_rules.body import check_body

PROVIDER = "Slidelane"


@dataclass(frozen=True, slots=True)
class PostOptions:
    """In which form the results are posted, and how large the body may be."""

    features: Features = "outlines"
    features_in: FeaturesIn = "geojson"
    qc_fail_reasons: QcFailReasons = "none"
    case_results: CaseResults | None = None
    max_bytes: int = 10**8

    @classmethod
    def of(cls, request: TechcyteDestination, settings: TechcyteDeliverySettings) -> Self:
        """Return what the order wants, and the settings where it does not say."""
        return cls(
            request.features or settings.features,
            request.features_in or settings.features_in,
            request.qc_fail_reasons or settings.qc_fail_reasons,
            request.case_results,
            settings.max_bytes,
        )

    def segments_hold_features(self, result: Result) -> bool:
        """Return whether the features of a scan stand in the segments of its report.

        Only a `Basic` report has segments, and none of them is for a heat map of several classes.
        """
        is_basic = result.card.report.get("type", "Basic") == "Basic"
        return is_basic and self.features_in != "geojson" and self.features != "heat_map"

    def are_annotations(self, result: Result) -> bool:
        """Return whether the features of a scan stand in its `geojson`."""
        return self.features_in != "segments" or not self.segments_hold_features(result)


AS_ALWAYS = PostOptions()


def write(
    results: Sequence[Result],
    file: BinaryIO,
    failed: Sequence[FailedScan] = (),
    options: PostOptions = AS_ALWAYS,
) -> None:
    """Write the whole body, checked against Techcyte's rules.

    What programs and code of the site wrote for Techcyte themselves was checked when it was taken,
    and is passed on as it is. `failed` are scans without a result; each says so in its summary,
    because a scan that the post leaves out waits at Techcyte for ever.

    Raise `OrderError`: `parcel_invalid` if Techcyte would reject it, `payload_too_large` as soon as
    it grows beyond `options.max_bytes`.
    """
    bounded = _BoundedFile(file, options)
    without_result = [_failed_fields(scan, results[0].order_id) for scan in failed]
    ours = {one.scan_id: _without_lists(one, options) for one in results if one.posted is None}
    of_the_case = case_results(options.case_results, results)
    checked: dict[str, Any] = {"scanResults": [*ours.values(), *without_result]}
    if of_the_case is not None:
        checked["caseResults"] = of_the_case
    if checked["scanResults"]:
        check_body(strict_json(checked))
    bounded.write(b'{"scanResults":[')
    stated = _write_scans(results, ours, bounded, options)
    for fields in without_result:
        bounded.write(b"," + strict_json(fields))
    bounded.write(b"]")
    if of_the_case is None and stated:
        of_the_case = merged_case_results(stated)
    if of_the_case is not None:
        bounded.write(b',"caseResults":' + strict_json(of_the_case))
    bounded.write(b"}")


def _write_scans(
    results: Sequence[Result],
    ours: Mapping[str, dict[str, Any]],
    file: "_BoundedFile",
    options: PostOptions,
) -> dict[str, Mapping[str, Any]]:
    """Write the scans, one at a time in memory.

    `ours` is what `_without_lists` returned for each scan that nobody posted, by its id. Return
    what those that are passed on as they were posted state of the case, by the scans' ids.
    """
    stated: dict[str, Mapping[str, Any]] = {}
    for number, result in enumerate(results):
        if number:
            file.write(b",")
        if result.posted is None:
            for piece in _scan_pieces(result, ours[result.scan_id], options):
                file.write(piece)
        else:
            file.write(posted_scan(result, result.posted, stated))
    return stated


class _BoundedFile:
    """A file that takes no more than the bound of a post."""

    def __init__(self, file: BinaryIO, options: PostOptions) -> None:
        self._file = file
        self._options = options
        self._written = 0

    def write(self, piece: bytes) -> None:
        """Write a piece. Raise `OrderError("payload_too_large")` for one too many."""
        self._written += len(piece)
        if self._written > self._options.max_bytes:
            raise OrderError(
                "payload_too_large",
                f"the results with features = {self._options.features} take more than the "
                f"{self._options.max_bytes:,} bytes of worker.deliver.techcyte.max_bytes",
                hint='deliver again with "features": "simplified", "points", "heat_map" or "none" '
                "in the destination, or have the bound raised",
            )
        self._file.write(piece)


def _failed_fields(scan: FailedScan, order_id: str) -> dict[str, Any]:
    """Return a scan without a result: why it has none, and no objects and no report."""
    results = {"summary": scan.summary, "order_id": order_id, "error": scan.code}
    return {"scanId": scan.id, "results": results}


def _without_lists(result: Result, options: PostOptions) -> dict[str, Any]:
    """Return the scan without what is checked while it is written: objects, points and boxes."""
    workflow = {**_workflow(result), "report": report_fields(result)}
    return {**_scan_fields(result, options), "workflow": workflow, "geojson": NO_FEATURES}


def _scan_pieces(result: Result, scan: dict[str, Any], options: PostOptions) -> Iterator[bytes]:
    """Yield the JSON of one scan in pieces, its objects first.

    `scan` is what `_without_lists` returned for it.
    """
    yield b'{"geojson":{"type":"FeatureCollection","features":['
    if options.are_annotations(result):
        yield from annotations(result, options.features)
    yield b']},"workflow":{"report":'
    in_segments: Features = "none"
    if options.segments_hold_features(result):
        in_segments = options.features
    yield from report_pieces(result, scan["workflow"]["report"], in_segments)
    yield b"," + strict_json(_without(scan["workflow"], "report"))[1:]
    yield b"," + strict_json(_without(scan, "geojson", "workflow"))[1:]


def _without(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


def _scan_fields(result: Result, options: PostOptions) -> dict[str, Any]:
    """Return everything of a scan but its objects and its workflow."""
    fields: dict[str, Any] = {"scanId": result.scan_id, "results": _results(result)}
    reasons = qc_fail_reasons(result, options.qc_fail_reasons)
    if reasons is not None:
        fields["qcFailReasons"] = reasons
    return fields


def _results(result: Result) -> dict[str, Any]:
    """Return what the case shows and `case_evaluations` gives back.

    `order_id` is how a lost answer is resolved.
    """
    findings = result.findings
    return {
        "summary": with_warnings(findings.headline, result.warnings),
        "warnings": [warning.model_dump() for warning in result.warnings],
        "order_id": result.order_id,
        "algorithm": made_by(result),
        "parameters": result.parameters,
        "frame": findings.frame.as_dict(),
        "measurements": findings.summary,
        "provenance": result.provenance,
    }


def _workflow(result: Result) -> dict[str, Any]:
    """Return everything of the workflow but its report."""
    return {
        "model_name": result.card.name,
        "provider": PROVIDER,
        "ruo": result.card.ruo,
        "key": result.card.title,
        "value": with_warnings(result.findings.headline, result.warnings),
    }
