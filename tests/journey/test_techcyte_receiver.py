"""The Techcyte stand-in takes what the documentation allows, refuses the rest whole, and shows
every double."""

import copy
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from demo.techcyte import TechcyteReceiver

RING = [[100, 200], [100, 264], [164, 264], [164, 200], [100, 200]]


def feature(**changes: Any) -> dict[str, Any]:
    shape = {"type": "Polygon", "coordinates": [RING]}
    return {"type": "Feature", "bbox": [100, 200, 164, 264], "geometry": shape,
            "properties": {"annotation_type": "mitosis"}, **changes}  # fmt: skip


def results() -> dict[str, Any]:
    report = {"type": "Basic", "results": [{"name": "Nuclei", "result": "12"}], "segments": []}
    scan = {
        "scanId": "7",
        "results": {"summary": "12 nuclei", "order_id": "o-1"},
        "geojson": {"type": "FeatureCollection", "features": [feature()]},
        "workflow": {"model_name": "demo", "ruo": True, "report": report},
    }
    return {"scanResults": [scan]}


@pytest.fixture
def techcyte() -> Iterator[TechcyteReceiver]:
    with TechcyteReceiver({"185714": {"7", "8"}}) as receiver:
        yield receiver


def post(receiver: TechcyteReceiver, body: Any, task: str = "185714") -> requests.Response:
    bearer = {"Authorization": f"Bearer {receiver.jwt_token}"}
    return requests.post(
        f"{receiver.url}/api/v3/external/results/{task}", json=body, headers=bearer, timeout=10
    )


def evaluations(receiver: TechcyteReceiver) -> list[dict[str, Any]]:
    bearer = {"Authorization": f"Bearer {receiver.jwt_token}"}
    url = f"{receiver.url}/api/v3/external/case_evaluations/185714"
    return list(requests.get(url, headers=bearer, timeout=10).json())


def test_results_are_answered_201_with_null(techcyte: TechcyteReceiver) -> None:
    """A valid post is answered as documented, and the task is complete."""
    answer = post(techcyte, results())
    assert (answer.status_code, answer.content) == (201, b"null")
    assert techcyte.completed == {"185714"}


def test_a_second_post_makes_a_second_evaluation(techcyte: TechcyteReceiver) -> None:
    """Results are appended, never replaced, so that a double delivery shows."""
    post(techcyte, results())
    post(techcyte, results())
    assert [e["details"]["report"]["order_id"] for e in evaluations(techcyte)] == ["o-1", "o-1"]
    assert len(techcyte.ledger) == 2


def test_an_evaluation_echoes_results_but_not_the_workflow(techcyte: TechcyteReceiver) -> None:
    """What can be read back is the scan's `results` object, as documented.

    Its ids are integers, whatever text was posted.
    """
    post(techcyte, {**results(), "caseResults": {"note": "x"}})
    (evaluation,) = evaluations(techcyte)
    assert (evaluation["task_id"], evaluation["sample_id"]) == (185714, 7)
    assert evaluation["details"] == {
        "report": results()["scanResults"][0]["results"],
        "caseReport": {"note": "x"},
    }


def test_a_task_is_known_by_number_and_by_base64(techcyte: TechcyteReceiver) -> None:
    """`dGFzazoxODU3MTQ=` is the base64 of `task:185714` and means the same task."""
    assert post(techcyte, results(), "dGFzazoxODU3MTQ%3D").status_code == 201
    assert len(evaluations(techcyte)) == 1


@pytest.mark.parametrize("how", ["basic", "form"])
def test_an_api_key_is_exchanged_for_a_token(techcyte: TechcyteReceiver, how: str) -> None:
    """Client credentials are taken from the Basic header and from the form, and the token then
    opens the API."""
    key = (techcyte.api_key_id, techcyte.api_key_secret)
    form = {"grant_type": "client_credentials"}
    form |= {"client_id": key[0], "client_secret": key[1]} if how == "form" else {}
    answer = requests.post(
        f"{techcyte.url}/api/v3/token", data=form, auth=key if how == "basic" else None, timeout=10
    )
    bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    url = f"{techcyte.url}/api/v3/external/results/185714"
    assert requests.post(url, json=results(), headers=bearer, timeout=10).status_code == 201


def test_a_stranger_is_refused(techcyte: TechcyteReceiver) -> None:
    """Without a token, with a wrong one, and with a wrong key, the answer is 401."""
    url = f"{techcyte.url}/api/v3/external/results/185714"
    assert requests.post(url, json=results(), timeout=10).status_code == 401
    assert (
        requests.post(
            url, json=results(), headers={"Authorization": "Bearer x"}, timeout=10
        ).status_code
        == 401
    )
    form = {"grant_type": "client_credentials"}
    assert (
        requests.post(
            f"{techcyte.url}/api/v3/token", data=form, auth=("a", "b"), timeout=10
        ).status_code
        == 401
    )


def test_an_unknown_task_and_a_foreign_scan_are_refused(techcyte: TechcyteReceiver) -> None:
    """A task nobody made is a 404, a scan of another task a 400."""
    body = results()
    body["scanResults"][0]["scanId"] = "9"
    assert post(techcyte, results(), "1").status_code == 404
    assert post(techcyte, body).status_code == 400


def test_the_triage_of_a_case_can_be_set(techcyte: TechcyteReceiver) -> None:
    """PATCH case is answered 204 and remembered."""
    bearer = {"Authorization": f"Bearer {techcyte.jwt_token}"}
    url = f"{techcyte.url}/api/v3/external/case/185714"
    assert (
        requests.patch(
            url, json={"triage_category": "High"}, headers=bearer, timeout=10
        ).status_code
        == 204
    )
    assert techcyte.triage == {"185714": {"triage_category": "High"}}


def test_tokens_of_api_keys_can_expire(techcyte: TechcyteReceiver) -> None:
    """They are refused with 401 from then on; the task's own token stays good."""
    key = (techcyte.api_key_id, techcyte.api_key_secret)
    form = {"grant_type": "client_credentials"}
    answer = requests.post(f"{techcyte.url}/api/v3/token", data=form, auth=key, timeout=10)
    bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    url = f"{techcyte.url}/api/v3/external/case_evaluations/185714"
    assert requests.get(url, headers=bearer, timeout=10).status_code == 200
    techcyte.expire_tokens()
    assert requests.get(url, headers=bearer, timeout=10).status_code == 401
    assert evaluations(techcyte) == []


def test_a_debug_file_is_put_as_into_a_bucket(techcyte: TechcyteReceiver) -> None:
    """A zip at a signed address, and no second way of signing in."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as packed:
        packed.writestr("order.log", "lines")
    zipped = content.getvalue()
    bearer = {"Authorization": f"Bearer {techcyte.jwt_token}"}
    unsigned = techcyte.debug_url().partition("?")[0]
    assert requests.put(unsigned, data=zipped, timeout=10).status_code == 403
    url = techcyte.debug_url()
    assert requests.put(url, data=zipped, headers=bearer, timeout=10).status_code == 400
    assert requests.put(url, data=b"no zip", timeout=10).status_code == 400
    assert requests.put(url, data=zipped, timeout=10).status_code == 200
    assert techcyte.debug_files == {"debug.zip": zipped}


@pytest.mark.parametrize(
    "fields", [{"triage_score": "0.5"}, {"triage_category": 7}, {"other": 1}, [1]], ids=str
)
def test_a_triage_of_another_shape_is_refused(techcyte: TechcyteReceiver, fields: Any) -> None:
    """Category is text, score a number, and there is nothing else."""
    bearer = {"Authorization": f"Bearer {techcyte.jwt_token}"}
    url = f"{techcyte.url}/api/v3/external/case/185714"
    assert requests.patch(url, json=fields, headers=bearer, timeout=10).status_code == 400
    assert techcyte.triage == {}


BROKEN: dict[str, Callable[[dict[str, Any]], Any]] = {
    "scanId": lambda scan: scan.update(scanId=7),
    "summary": lambda scan: scan["results"].update(summary=12),
    "annotation_type": lambda scan: scan["geojson"].update(features=[feature(properties={})]),
    "bbox": lambda scan: scan["geojson"].update(features=[feature(bbox=[1, 2, 3])]),
    "closed": lambda scan: scan["geojson"]["features"][0]["geometry"].update(
        coordinates=[RING[:-1]]
    ),
    "report type": lambda scan: scan["workflow"]["report"].update(type="Basics"),
    "result": lambda scan: scan["workflow"]["report"].update(
        results=[{"name": "Nuclei", "result": 12}]
    ),
    "boolean": lambda scan: scan["workflow"].update(ruo="yes"),
    "NaN": lambda scan: scan["results"].update(score=float("nan")),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_one_bad_scan_rejects_the_whole_post(techcyte: TechcyteReceiver, rule: str) -> None:
    """Nothing is kept of a post in which a single scan breaks a single rule, and the answer names
    it."""
    good, bad = results()["scanResults"][0], copy.deepcopy(results()["scanResults"][0])
    bad["scanId"] = "8"
    BROKEN[rule](bad)
    body = json.dumps({"scanResults": [good, bad]})
    bearer = {"Authorization": f"Bearer {techcyte.jwt_token}"}
    url = f"{techcyte.url}/api/v3/external/results/185714"
    answer = requests.post(url, data=body, headers=bearer, timeout=10)
    assert answer.status_code == 400
    assert rule in answer.json()["error"]
    assert techcyte.ledger == []
    assert evaluations(techcyte) == []
