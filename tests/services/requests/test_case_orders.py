"""What the API says to orders for an algorithm that judges cases, and to Techcyte's tasks."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError

from broker.order_store import OrderStore
from broker.orders.request import TechcyteDestination
from broker.settings.services.techcyte import TechcyteWebhook
from services.app import create_app
from services.requests.order_validation import whole_destination_of
from services.requests.techcyte_task import EXAMPLE, TechcyteTask
from tests.services.conftest import CARD, LOOPBACK

DESTINATION = {"type": "techcyte", "host": "ci.techcyte.com", "task_id": "1", "jwt_token": "token"}
WEBHOOK = {"secret": "12345678", "host": "ci.techcyte.com", "algorithms": {"*": {"algorithm": "a"}}}


@pytest.fixture
def api(config: Any, store: OrderStore) -> TestClient:
    """An API whose worker has announced one algorithm for scans and one for cases."""
    case = CARD.model_copy(update={"name": "subtype", "output": "slide", "scope": "case"})
    store.announce([CARD, case])
    return TestClient(create_app(config, store), base_url="http://127.0.0.1:8000", client=LOOPBACK)


def placed(api: TestClient, algorithm: str, **more: Any) -> Any:
    scans = [{"id": name, "source": {"type": "path", "path": "/slides/a.svs"}} for name in "ab"]
    return api.post("/v1/orders", json={"algorithm": algorithm, "scans": scans, **more})


def test_a_case_is_ordered_with_all_of_its_scans_or_not_at_all(api: TestClient) -> None:
    """An answer to a part of a case would look like any other."""
    refused = placed(api, "subtype", on_scan_failure="deliver_rest")
    assert refused.status_code == 422
    problem = refused.json()
    assert (problem["code"], problem["field"]) == ("request_invalid", "on_scan_failure")
    assert "subtype gives one answer for all scans" in problem["detail"]
    assert placed(api, "subtype", on_scan_failure="fail").status_code == 202
    assert placed(api, "subtype").status_code == 202
    assert placed(api, "ki67", on_scan_failure="deliver_rest").status_code == 202


def test_an_algorithm_says_what_gets_one_answer(api: TestClient) -> None:
    """`scope` is a field of its card."""
    cards = {card["name"]: card for card in api.get("/v1/algorithms").json()["algorithms"]}
    assert (cards["ki67"]["scope"], cards["subtype"]["scope"]) == ("scan", "case")


def test_a_destination_says_whether_it_takes_case_results(api: TestClient) -> None:
    """Absent: it does not. The order shows it, and nothing where it was not given."""
    order = placed(api, "subtype", destination={**DESTINATION, "case_results": True}).json()
    assert order["destination"]["case_results"] is True
    assert (
        "case_results" not in placed(api, "subtype", destination=DESTINATION).json()["destination"]
    )
    refused = placed(api, "subtype", destination={**DESTINATION, "case_results": "yes"})
    assert refused.json()["field"] == "destination.case_results"


def test_a_webhook_says_it_for_its_tasks() -> None:
    """Techcyte's tasks do not; without the setting nothing is sent."""
    task = TechcyteTask.of(dict(EXAMPLE))
    for given, expected in ((True, True), (False, None)):
        webhook = TechcyteWebhook.model_validate({**WEBHOOK, "case_results": given})
        destination = whole_destination_of(task.order_document(webhook)["destination"])
        assert isinstance(destination, TechcyteDestination)
        assert destination.case_results is expected
    with pytest.raises(ValidationError):
        TechcyteWebhook.model_validate({**WEBHOOK, "case_results": "perhaps"})
