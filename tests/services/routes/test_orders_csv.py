"""Many orders as one table."""

import csv
import io
from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient

from broker.errors import Problem
from broker.order_store import OrderStore
from tests.support.orders import taken

OrderBody = Callable[..., dict[str, Any]]


def rows(api: TestClient, **query: str) -> list[dict[str, str]]:
    answer = api.get("/v1/orders.csv", params=query)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/csv")
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_each_scan_is_a_row_with_its_figures(
    api: TestClient, order_body: OrderBody, store: OrderStore
) -> None:
    """Nested figures have the names of all keys above them; text that is none is left out."""
    order_id = api.post("/v1/orders", json=order_body(labels={"case": "S26-1"})).json()["id"]
    store.finish(taken(store, f"{order_id}.0", "fetch"), "staged")
    summary = {"nuclei": 9, "thresholds": {"od": 0.15, "from": "otsu"}, "headline": "9 nuclei"}
    claim = taken(store, f"{order_id}.0", "classify")
    store.finish(claim, "classified", {"result": "results/x", "summary": summary})
    failed = api.post("/v1/orders", json=order_body()).json()["id"]
    problem = Problem("not_a_slide", "no", blame="input")
    store.finish(taken(store, f"{failed}.0", "fetch"), "failed", problem=problem)
    newest, oldest = rows(api)
    assert oldest["order"] == order_id
    assert oldest["label.case"] == "S26-1"
    assert (oldest["result.nuclei"], oldest["result.thresholds.od"]) == ("9", "0.15")
    assert "result.thresholds.from" not in oldest
    assert oldest["headline"] == "9 nuclei"
    assert (newest["scan_state"], newest["error"]) == ("failed", "not_a_slide")
    assert newest["result.nuclei"] == ""


def test_the_filters_are_those_of_the_list(api: TestClient, order_body: OrderBody) -> None:
    """Labels, states and limit; what the list refuses is refused here too."""
    api.post("/v1/orders", json=order_body(labels={"case": "1"}))
    api.post("/v1/orders", json=order_body(labels={"case": "2"}))
    assert [row["label.case"] for row in rows(api, **{"label.case": "2"})] == ["2"]
    assert len(rows(api, limit="1")) == 1
    assert api.get("/v1/orders.csv", params={"limit": "10001"}).status_code == 422
    assert api.get("/v1/orders.csv", params={"case": "1"}).status_code == 422


def test_a_label_is_no_formula_of_a_spreadsheet(api: TestClient, order_body: OrderBody) -> None:
    """Labels come from callers, and spreadsheets compute what begins with an equals sign."""
    api.post("/v1/orders", json=order_body(labels={"case": "=HYPERLINK(1)"}))
    (row,) = rows(api)
    assert row["label.case"] == "'=HYPERLINK(1)"


def test_more_orders_than_a_page_are_in_the_table(
    api: TestClient, order_body: OrderBody, store: OrderStore
) -> None:
    """A list shows at most 200 at a time."""
    entries = api.post("/v1/orders", json=[order_body(labels={})] * 60).json()
    for _ in range(3):
        entries += api.post("/v1/orders", json=[order_body(labels={})] * 60).json()
    assert {row["order"] for row in rows(api)} == {entry["order"]["id"] for entry in entries}
