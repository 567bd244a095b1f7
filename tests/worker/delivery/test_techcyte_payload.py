"""The body that Techcyte gets, and our copy of its rules."""

import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from broker.errors import OrderError
from broker.orders.algorithm_card import ClassCard
from broker.orders.order import ScanWarning
from demo.techcyte_rules import check_results
from tests.support.results import a_card, a_result, nuclei, objects
from worker.delivery.destinations.techcyte import payload
from worker.results.result import FailedScan, Result
from worker.results.techcyte_rules.body import check_body

Broken = Callable[[dict[str, Any]], Any]


def written(results: Sequence[Result]) -> bytes:
    file = io.BytesIO()
    payload.write(results, file)
    return file.getvalue()


def a_body() -> dict[str, Any]:
    return dict(json.loads(written([a_result(), a_result(nuclei(2), scan_id="2")]).decode("ascii")))


def test_all_scans_travel_in_one_written() -> None:
    """One post ends the task, so it holds every scan with its own objects and report."""
    first, second = a_body()["scanResults"]
    assert (first["scanId"], second["scanId"]) == ("8946136", "2")
    assert (len(first["geojson"]["features"]), len(second["geojson"]["features"])) == (9, 2)


@pytest.mark.parametrize("count", [0, 1, 9])
def test_an_independent_reader_of_the_rules_agrees(count: int) -> None:
    """The demo's receiver, which was written apart from this code, takes every body."""
    body = written([a_result(nuclei(count)), a_result(nuclei(count), scan_id="2")])
    assert len(check_results(body)["scanResults"]) == 2


def test_the_order_can_be_recognised_when_it_comes_back() -> None:
    """`case_evaluations` returns `results`, which holds the order's id and the headline."""
    results = a_body()["scanResults"][0]["results"]
    assert results["order_id"] == "ord-1"
    assert results["summary"] == "4 of 9 nuclei are positive (\u2265 0.15)"
    assert results["frame"]["bounds_offset"] == [16, 8]


def test_the_summary_begins_with_the_warnings() -> None:
    """Nobody at Techcyte reads the figure without the doubt: summary, value and report name it."""
    warnings = (
        ScanWarning(code="slide_blurred", detail="3 of 4 sample tiles are out of focus"),
        ScanWarning(code="pen_marks", detail="2.0% is ink"),
    )
    scan = json.loads(written([a_result(warnings=warnings)]))["scanResults"][0]
    expected = (
        "WARNING slide_blurred: 3 of 4 sample tiles are out of focus. "
        "WARNING pen_marks: 2.0% is ink. 4 of 9 nuclei are positive (\u2265 0.15)"
    )
    assert scan["results"]["summary"] == scan["workflow"]["value"] == expected
    assert scan["results"]["warnings"] == [one.model_dump() for one in warnings]
    assert scan["workflow"]["report"]["results"][0] == {
        "name": "Warning slide_blurred",
        "result": "3 of 4 sample tiles are out of focus",
    }


def test_a_scan_without_a_result_says_why() -> None:
    """In an order whose rest is delivered all the same; left out it would wait at Techcyte."""
    file = io.BytesIO()
    failed = [FailedScan("7", "not_a_slide", "it is a text")]
    payload.write([a_result()], file, failed)
    scans = check_results(file.getvalue())["scanResults"]
    assert scans[1] == {
        "scanId": "7",
        "results": {
            "summary": "FAILED not_a_slide: it is a text",
            "order_id": "ord-1",
            "error": "not_a_slide",
        },
    }


def test_a_feature_is_an_annotation_type_with_its_box() -> None:
    """Each object has its class's type, a closed level-0 ring and the box around it."""
    for feature in a_body()["scanResults"][0]["geojson"]["features"]:
        (ring,) = feature["geometry"]["coordinates"]
        xs, ys = zip(*ring, strict=True)
        assert feature["bbox"] == [min(xs), min(ys), max(xs), max(ys)]
        assert ring[0] == ring[-1]
        assert feature["properties"]["annotation_type"] in ("nucleus_negative", "nucleus_positive")


def test_the_report_says_everything_in_strings() -> None:
    """Numbers, missing values and nested fields of the summary become named lines of text."""
    report = a_body()["scanResults"][0]["workflow"]["report"]
    assert report["results"] == [
        {"name": "Nuclei", "result": "9"},
        {"name": "Labelling index pct", "result": "44.4444"},
        {"name": "Thresholds dab od", "result": "0.15"},
    ]
    assert [(s["name"], s["result"]) for s in report["segments"]] == [
        ("negative", "5"),
        ("positive", "4"),
    ]
    empty = json.loads(written([a_result(objects([]))]))["scanResults"][0]["workflow"]["report"]
    assert {"name": "Labelling index pct", "result": "not available"} in empty["results"]


def test_no_quality_check_is_claimed() -> None:
    """`qcFailReasons: []` would record a pass, so the field is never there."""
    assert all("qcFailReasons" not in scan for scan in a_body()["scanResults"])


def test_the_same_results_are_the_same_bytes() -> None:
    """The digest of a payload says whether it was sent before."""
    assert written([a_result()]) == written([a_result()])


BREAKS: dict[str, Broken] = {
    "no scan": lambda b: b["scanResults"].clear(),
    "a scan twice": lambda b: b["scanResults"].append(b["scanResults"][0]),
    "a scan id that is a number": lambda b: b["scanResults"][0].update(scanId=8946136),
    "a reason that is a number": lambda b: b["scanResults"][0].update(qcFailReasons=[7]),
    "no order id": lambda b: b["scanResults"][0]["results"].pop("order_id"),
    "a summary that is a number": lambda b: b["scanResults"][0]["results"].update(summary=12),
    "no annotation type": lambda b: b["scanResults"][0]["geojson"]["features"][0][
        "properties"
    ].clear(),
    "a box of three": lambda b: b["scanResults"][0]["geojson"]["features"][0]["bbox"].pop(),
    "a box inside out": lambda b: b["scanResults"][0]["geojson"]["features"][0]["bbox"].reverse(),
    "an open ring": lambda b: b["scanResults"][0]["geojson"]["features"][0]["geometry"][
        "coordinates"
    ][0].pop(),
    "an unknown report": lambda b: b["scanResults"][1]["workflow"]["report"].update(type="Fancy"),
    "a result that is a number": lambda b: b["scanResults"][0]["workflow"]["report"]["results"][
        0
    ].update(result=1),
    "ruo in words": lambda b: b["scanResults"][0]["workflow"].update(ruo="true"),
}


@pytest.mark.parametrize("fault", BREAKS)
def test_a_body_that_techcyte_would_reject_is_not_sent(fault: str) -> None:
    """One broken rule in one scan is found before anything is sent, and named without the data."""
    body = a_body()
    check_body(json.dumps(body).encode())
    BREAKS[fault](body)
    with pytest.raises(OrderError, match=r"Techcyte's rules: (scanResults|body)") as caught:
        check_body(json.dumps(body).encode())
    assert caught.value.code == "parcel_invalid"


def test_a_class_without_annotation_type_is_the_algorithms_fault() -> None:
    """A card that names no type cannot be delivered, and the blame is the algorithm's."""
    nameless = ClassCard(name="negative", color="#000000", annotation_type="")
    card = a_card().model_copy(update={"classes": (nameless, nameless)})
    with pytest.raises(OrderError, match="annotation_type") as caught:
        written([a_result(card=card)])
    assert caught.value.problem.blame == "algorithm"
