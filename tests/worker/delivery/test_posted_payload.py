"""What programs posted, as it is delivered to Techcyte: as it came, once, for all scans."""

import io
import json
from pathlib import Path
from typing import Any

from demo.techcyte_rules import check_results
from tests.support.results import a_result
from worker.delivery.destinations.techcyte import payload
from worker.delivery.destinations.techcyte.posted import merged_case_results
from worker.results.result import FailedScan, Result


def posted(folder: Path, scan: str, case: Any = None, **fields: Any) -> Result:
    """A result whose program posted these fields."""
    body: dict[str, Any] = {"scanResults": [{"scanId": scan, **fields}]}
    if case is not None:
        body["caseResults"] = case
    file = folder / f"{scan}.json"
    file.write_text(json.dumps(body))
    return a_result(scan_id=scan, posted=file)


def written(*results: Result, failed: tuple[FailedScan, ...] = ()) -> dict[str, Any]:
    """The body that is delivered, as the stand-in reads it."""
    file = io.BytesIO()
    payload.write(results, file, failed)
    return check_results(file.getvalue())


def test_the_post_is_passed_on_with_the_id_of_the_order(tmp_path: Path) -> None:
    """Everything but the id is the program's, an empty list of quality reasons included."""
    fields = {"qcFailReasons": [], "results": {"n": 1.5}, "own": {"anything": None}}
    body = written(posted(tmp_path, "1", {}, **fields))
    assert body == {
        "scanResults": [
            {
                "scanId": "1",
                "qcFailReasons": [],
                "results": {"n": 1.5, "order_id": "ord-1"},
                "own": {"anything": None},
            }
        ],
        "caseResults": {},
    }


def test_a_post_without_results_gets_the_id_alone(tmp_path: Path) -> None:
    """The template posts no `results`: nothing else of it comes back from Techcyte."""
    body = written(posted(tmp_path, "1", workflow={"model_name": "m"}))
    (scan,) = body["scanResults"]
    assert scan["results"] == {"order_id": "ord-1"}
    assert "caseResults" not in body
    assert "qcFailReasons" not in scan


def test_several_runs_are_one_post(tmp_path: Path) -> None:
    """Their scans come in the order of the order; a failed one says why."""
    one = posted(tmp_path, "1", {"diagnosis": "A", "shared": 1})
    two = posted(tmp_path, "2", {"diagnosis": "B", "shared": 1})
    failed = FailedScan("3", "time_limit", "it took too long")
    body = written(one, two, failed=(failed,))
    assert [scan["scanId"] for scan in body["scanResults"]] == ["1", "2", "3"]
    assert body["scanResults"][2]["results"]["error"] == "time_limit"
    assert body["caseResults"] == {
        "diagnosis (scan 1)": "A",
        "diagnosis (scan 2)": "B",
        "shared": 1,
    }


def test_no_case_results_are_invented() -> None:
    """Runs that state nothing of the case add nothing."""
    assert merged_case_results({"1": {}, "2": {"a": 1}}) == {"a": 1}


def test_what_code_of_the_site_posted_stands_beside_our_own(tmp_path: Path) -> None:
    """Code may answer one scan in Techcyte's words and another one in objects."""
    first, second = written(posted(tmp_path, "1"), a_result(scan_id="2"))["scanResults"]
    assert first == {"scanId": "1", "results": {"order_id": "ord-1"}}
    assert second["scanId"] == "2"
    assert second["geojson"]["features"]
