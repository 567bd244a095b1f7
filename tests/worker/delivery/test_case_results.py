"""`caseResults`: the one answer for all scans, with the doubts about all of them."""

import io
from dataclasses import replace
from typing import Any

from broker.orders.order import ScanWarning
from demo.techcyte_rules import check_results
from tests.support.results import a_card, a_result, nuclei
from worker.delivery.destinations.techcyte import payload
from worker.delivery.destinations.techcyte.payload import PostOptions
from worker.results.result import Result

CASE = {
    "class": "LUAD",
    "probability": 0.75,
    "probabilities": {"LUAD": 0.75},
    "scans": 2,
    "tiles": 9,
}
LEFT_OUT = ScanWarning(code="tiles_left_out", detail="the network was given 9 of 90 tiles")
BLURRED = ScanWarning(code="slide_blurred", detail="3 of 4 sample tiles are out of focus")


def of_case(scan_id: str, scope: str, *warnings: ScanWarning) -> Result:
    result = a_result(nuclei(0), scan_id=scan_id, warnings=warnings)
    findings = replace(result.findings, summary={"case": CASE, "tiles": 4}, headline="case: LUAD")
    return replace(result, findings=findings, card=a_card().model_copy(update={"scope": scope}))


def sent(*results: Result) -> dict[str, Any]:
    file = io.BytesIO()
    payload.write(results, file, (), PostOptions(case_results=True))
    return check_results(file.getvalue())


def test_the_doubts_about_every_scan_stand_before_the_answer() -> None:
    """One that stands with all of them is said once; the list says which scan each is of."""
    body = sent(of_case("1", "case", LEFT_OUT), of_case("2", "case", BLURRED, LEFT_OUT))
    case = body["caseResults"]
    assert case["summary"] == (
        "WARNING tiles_left_out: the network was given 9 of 90 tiles. "
        "WARNING slide_blurred: 3 of 4 sample tiles are out of focus. case: LUAD"
    )
    assert [(one["scan"], one["code"]) for one in case["warnings"]] == [
        ("1", "tiles_left_out"),
        ("2", "slide_blurred"),
        ("2", "tiles_left_out"),
    ]
    assert {name: case[name] for name in CASE} == CASE
    assert len(body["scanResults"]) == 2


def test_an_algorithm_for_scans_sends_no_case() -> None:
    """Whatever its summary holds: code of a site may have a figure of this name."""
    assert "caseResults" not in sent(of_case("1", "scan"), of_case("2", "scan"))
