"""Orders by a template, and orders whose algorithm a policy decides."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from broker.order_store import OrderStore
from broker.settings.config import Config, load
from services.app import create_app
from services.openapi import SHORT_ORDERS
from tests.services.conftest import LOOPBACK

LOADER = {"type": "annotation", "url": "https://loader.example.org/submitZipOrder"}
HOT_SPOT = {
    "title": "A hot spot",
    "algorithm": "ki67",
    "parameters": {"positive_threshold": 0.3},
    "destination": "loader",
    "priority": "high",
    "labels": {"study": "S-7"},
    "roi": {"required": True, "max_area_mm2": 4, "max_width_px": 4096, "max_count": 2},
    "allow": ["labels", "priority", "parameters.sizes"],
}
SCAN = {
    "id": "a",
    "source": {"type": "path", "path": "/slides/in/a.svs"},
    "roi": {"x": 0, "y": 0, "width": 2048, "height": 9000},
}
ORDER = {"template": "hot-spot", "scans": [SCAN], "labels": {"case": "S1"}}
KI67 = {"name": "ki67", "match": {"stain": "Ki67"}, "algorithm": "ki67", "labels": {"lab": "x"}}
NDPI = {
    "name": "ndpi",
    "match": {"path": "*.ndpi", "label.study": "A*"},
    "algorithm": "ki67",
    "parameters": {"positive_threshold": 0.4},
}


@pytest.fixture
def api(config: Config, announced: OrderStore) -> TestClient:
    services = {
        "destinations": {"loader": LOADER},
        "templates": {"hot-spot": HOT_SPOT},
        "policies": [KI67, NDPI],
    }
    worker = config.worker.model_dump() | {
        "locator": {"type": "map", "cases": {"S26-1240": {"type": "path", "path": "/slides/c.svs"}}}
    }
    rules = load(broker=config.broker.model_dump(), services=services, worker=worker)
    return TestClient(
        create_app(rules, announced), base_url="http://127.0.0.1:8000", client=LOOPBACK
    )


def test_a_template_completes_an_order(api: TestClient) -> None:
    """The order gives its scans and what it may; everything else is the template's."""
    answer = api.post("/v1/orders", json=ORDER | {"parameters": {"sizes": [1]}})
    assert answer.status_code == 202, answer.json()
    order = answer.json()
    assert order["algorithm"] == "ki67"
    assert order["parameters"] == {"positive_threshold": 0.3, "sizes": [1]}
    assert order["labels"] == {"case": "S1", "study": "S-7", "template": "hot-spot"}
    assert order["priority"] == "high"
    assert order["destination"]["case_id"] == "S1"
    assert order["destination"]["name"] == "loader"


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"template": "cold"}, ["template"]),
        ({"template": 7}, ["template"]),
        ({"algorithm": "grid"}, ["algorithm"]),
        ({"parameters": {"positive_threshold": 1, "sizes": []}}, ["parameters.positive_threshold"]),
        ({"labels": {"study": "x"}}, ["labels.study"]),
        ({"destination": {"type": "none"}, "roi_limits": {}}, ["destination", "roi_limits"]),
        ({"scans": [SCAN | {"id": "b", "roi": None}]}, ["scans[0].roi"]),
        ({"scans": [SCAN | {"id": "b", "roi": "full"}]}, ["scans[0].roi"]),
        ({"scans": [SCAN, SCAN | {"id": "b"}, SCAN | {"id": "c"}]}, ["scans"]),
        ({"scans": [SCAN | {"roi": {"x": 0, "y": 0, "width": 4097, "height": 1}}]}, ["scans[0].roi.width"]),
        ({"scans": [SCAN | {"roi": {"polygon": [[0, 0], [5000, 0], [0, 9]]}}]}, ["scans[0].roi.width"]),
        ({"labels": 7}, ["labels"]),
    ],
)  # fmt: skip
def test_what_a_template_does_not_allow_is_refused(
    api: TestClient, change: dict[str, Any], fields: list[str]
) -> None:
    """With the field, and a hint that says what to do."""
    answer = api.post("/v1/orders", json=ORDER | change)
    assert answer.status_code == 422
    problem = answer.json()
    assert fields == ["scans"] or problem["hint"]
    found = [fault["field"] for fault in problem.get("errors", [problem])]
    assert found == fields


def test_an_order_may_add_to_the_destination_of_its_template(api: TestClient) -> None:
    """It gives what the named destination lacks, and no other destination."""
    destination = {"name": "loader", "case_id": "other"}
    answer = api.post("/v1/orders", json=ORDER | {"destination": destination})
    assert answer.status_code == 202, answer.json()
    assert answer.json()["destination"]["case_id"] == "other"
    refused = api.post("/v1/orders", json=ORDER | {"destination": "loader2"})
    assert refused.json()["field"] == "destination"


def test_templates_are_listed(api: TestClient) -> None:
    """With what an order may say, and what limits its regions."""
    (shown,) = api.get("/v1/templates").json()["templates"]
    assert shown["name"] == "hot-spot"
    assert shown["destination"] == "loader"
    assert shown["allow"] == HOT_SPOT["allow"]
    assert shown["roi"] == {
        "required": True, "max_area_mm2": 4.0, "max_width_px": 4096, "max_height_px": None,
        "max_count": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("order", "policy", "threshold"),
    [
        ({"scans": [SCAN | {"stain": "MIB1"}]}, "ki67", 0.15),
        ({"scans": [SCAN | {"stain": "MIB1"}], "parameters": {"positive_threshold": 0.5}}, "ki67", 0.5),
        ({"scans": [SCAN | {"source": {"type": "path", "path": "/slides/a.ndpi"}}], "labels": {"study": "A3"}}, "ndpi", 0.4),
    ],
)  # fmt: skip
def test_a_policy_decides_where_no_algorithm_is_named(
    api: TestClient, order: dict[str, Any], policy: str, threshold: float
) -> None:
    """The first that all scans fit; what the order says goes before what the policy says."""
    answer = api.post("/v1/orders", json=order)
    assert answer.status_code == 202, answer.json()
    assert answer.json()["labels"]["policy"] == policy
    assert answer.json()["parameters"]["positive_threshold"] == threshold
    assert answer.json()["created_by"] == "anybody on loopback"


def test_scans_of_different_policies_are_no_order(api: TestClient) -> None:
    """An order has one algorithm; the refusal names the policies."""
    scans = [SCAN | {"stain": "Ki67"}, SCAN | {"id": "b", "stain": "PAS"}]
    problem = api.post("/v1/orders", json={"scans": scans}).json()
    assert (problem["code"], problem["field"]) == ("request_invalid", "algorithm")
    assert "ki67, ndpi" in problem["hint"]
    batch = api.post("/v1/orders", json=[{"scans": scans[:1]}, {"scans": scans}])
    assert [one["status"] for one in batch.json()] == [202, 422]


@pytest.mark.parametrize("name", SHORT_ORDERS)
def test_the_published_short_orders_are_accepted(api: TestClient, name: str) -> None:
    """The examples of the API's description."""
    answer = api.post("/v1/orders", json=SHORT_ORDERS[name]["value"])
    assert answer.status_code == 202, answer.json()
