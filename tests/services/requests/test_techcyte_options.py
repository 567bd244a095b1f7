"""What an order asks of Techcyte besides the results: checked at the door, and shown without
secrets."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from broker.order_store import OrderStore

OrderBody = Callable[..., dict[str, Any]]
SECRET = "5160edDEBUG"
DESTINATION = {
    "type": "techcyte",
    "host": "ci.techcyte.com",
    "task_id": "dGFzazoxODU3MTQ=",
    "jwt_token": "eyJ0b28.b2xk.eA",
}


def test_everything_that_is_asked_reaches_the_courier(
    api: TestClient, store: OrderStore, order_body: OrderBody
) -> None:
    """And is shown to whoever may read the order, but for the signature."""
    asked = {
        "features": "simplified",
        "features_in": "both",
        "qc_fail_reasons": "warnings",
        "case_results": {"note": ["x"]},
        "triage": {"score": "labelling_index_pct", "category": {"High": 30, "Low": 0}},
    }
    url = f"https://bucket.example.org/debug.zip?X-Amz-Signature={SECRET}"
    destination: Any = DESTINATION | asked | {"debug_file_upload_url": url}
    answer = api.post("/v1/orders", json=order_body(destination=destination))
    assert answer.status_code == 202, answer.text
    shown = answer.json()["destination"]
    assert {name: shown[name] for name in asked} == asked
    assert shown["debug_file_upload_url"] == "https://bucket.example.org/debug.zip?…"
    assert SECRET not in answer.text
    destination = store.get(answer.json()["id"]).request.resolved_destination
    assert destination.debug_file_upload_url.get_secret_value() == url
    assert destination.triage.category == {"High": 30, "Low": 0}
    assert SECRET not in repr(destination)


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        (
            {"debug_file_upload_url": f"https://10.0.0.1/x?s={SECRET}"},
            "host_not_allowed",
            "destination.debug_file_upload_url",
        ),
        (
            {"debug_file_upload_url": f"http://8.8.8.8/x?s={SECRET}"},
            "destination_not_encrypted",
            "destination.debug_file_upload_url",
        ),
        (
            {"debug_file_upload_url": f"ftp://{SECRET}"},
            "request_invalid",
            "destination.debug_file_upload_url",
        ),
        ({"features": "everything"}, "request_invalid", "destination.features"),
        ({"features_in": "nowhere"}, "request_invalid", "destination.features_in"),
        ({"qc_fail_reasons": []}, "request_invalid", "destination.qc_fail_reasons"),
        ({"triage": {}}, "request_invalid", "destination.triage"),
    ],
    ids=["private", "plain", "no URL", "features", "place", "quality", "triage"],
)
def test_what_cannot_be_is_refused_with_its_field(
    api: TestClient, order_body: OrderBody, fields: dict[str, Any], code: str, field: str
) -> None:
    """Before anything is queued, and without the signature."""
    answer = api.post("/v1/orders", json=order_body(destination=DESTINATION | fields))
    assert answer.status_code == 422
    assert (answer.json()["code"], answer.json()["field"]) == (code, field)
    assert SECRET not in json.dumps(answer.json())
