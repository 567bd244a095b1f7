"""What a post says of the whole case, beside its scans: `caseResults`, which is free in form."""

from collections.abc import Mapping, Sequence
from typing import Any

from broker.orders.techcyte_options import CaseResults
from worker.results.result import FailedScan, Result


def case_results(
    given: CaseResults | None, results: Sequence[Result], failed: Sequence[FailedScan]
) -> Mapping[str, Any] | None:
    """Return `caseResults` as the order wants them; None where the post has none.

    An object is sent as it is. True stands for one line of each scan, by the scan's id.
    """
    if isinstance(given, Mapping):
        return given
    if not given:
        return None
    lines = {result.scan_id: result.findings.headline for result in results}
    return lines | {scan.id: scan.summary for scan in failed}
