"""Kue's lists and counts: which jobs, in which order, and what their ids are."""

import pytest
from fastapi.testclient import TestClient

from broker.order_store import OrderStore
from broker.order_store.kue.jobs import MAX_LISTED
from services.kue.listing import NOT_A_NUMBER
from tests.services.kue.conftest import Job, sent
from tests.support.orders import taken


@pytest.fixture
def eight(door: TestClient, store: OrderStore, viewer_job: Job) -> TestClient:
    """Jobs 1 to 8: 2 has a higher and 3 a lower priority, 4 is failed, 5 another type, 6 is
    active, 7 delayed."""
    sent(door, viewer_job())
    sent(door, viewer_job(options={"priority": "high"}))
    sent(door, viewer_job(options={"priority": "low"}))
    sent(door, {"type": "analysisJob"})
    sent(door, viewer_job(type="order"))
    sent(door, viewer_job())
    sent(door, viewer_job(options={"delay": 600_000}))
    sent(door, viewer_job())
    (order,) = store.find(labels={"kue": "6"}).orders
    taken(store, f"{order.id}.0", "fetch")
    return door


@pytest.mark.parametrize(
    ("path", "ids"),
    [
        ("0..20", [1, 2, 3, 4, 5, 6, 7, 8]),
        ("0..20/asc", [1, 2, 3, 4, 5, 6, 7, 8]),
        ("0..20/desc", [8, 7, 6, 5, 4, 3, 2, 1]),
        ("0..20/sideways", [1, 2, 3, 4, 5, 6, 7, 8]),
        ("0..0", [2]),
        ("0..1", [1, 2]),
        ("0..1/desc", [2, 1]),
        ("1..2", [1, 4]),
        ("7..7", [3]),
        ("-1..-1", [3]),
        ("0..-1", [1, 2, 3, 4, 5, 6, 7, 8]),
        ("5..2", []),
        ("8..9", []),
        ("0x..2", [1, 2, 4]),
        ("inactive/0..9", [1, 2, 3, 5, 8]),
        ("inactive/0..9/desc", [8, 5, 3, 2, 1]),
        ("failed/0..9", [4]),
        ("active/0..9/asc", [6]),
        ("delayed/0..9", [7]),
        ("complete/0..9", []),
        ("unheard/0..9", []),
        ("analysisJob/inactive/0..9", [1, 2, 3, 8]),
        ("order/inactive/0..9/desc", [5]),
        ("order/failed/0..1/desc", []),
    ],
)
def test_lists(eight: TestClient, path: str, ids: list[int]) -> None:
    """Both ends count; places go by priority, the answer by number; ids are numbers here."""
    answer = eight.get(f"/kue/jobs/{path}")
    assert answer.status_code == 200
    assert [job["id"] for job in answer.json()] == ids


@pytest.mark.parametrize("path", ["a..b", "0..", "..9", "failed/x..1"])
def test_places_that_are_no_numbers(eight: TestClient, path: str) -> None:
    """200 with the error that Redis tells Kue."""
    answer = eight.get(f"/kue/jobs/{path}")
    assert (answer.status_code, answer.json()) == (200, {"error": NOT_A_NUMBER})


@pytest.mark.parametrize("path", ["", "failed", "a/b/c", "a/b/c/0..1", "0..1/asc/x", "/0..1", "0"])
def test_other_lists_are_not_there(eight: TestClient, path: str) -> None:
    """404 with `error`."""
    answer = eight.get(f"/kue/jobs/{path}")
    assert (answer.status_code, list(answer.json())) == (404, ["error"])


def test_counts(eight: TestClient) -> None:
    """All numbers, and the types that were sent."""
    assert eight.get("/kue/stats").json() == {
        "inactiveCount": 5,
        "completeCount": 0,
        "activeCount": 1,
        "failedCount": 1,
        "delayedCount": 1,
        "workTime": 0,
    }
    assert eight.get("/kue/job/types").json() == ["analysisJob", "order"]
    counts = {
        path: eight.get(f"/kue/jobs/{path}/stats").json()
        for path in ("analysisJob/inactive", "order/inactive", "order/complete", "x/y")
    }
    assert counts == {
        "analysisJob/inactive": {"count": 4},
        "order/inactive": {"count": 1},
        "order/complete": {"count": 0},
        "x/y": {"count": 0},
    }


def test_a_list_is_bounded(door: TestClient, store: OrderStore) -> None:
    """Kue would answer with all that there are; here it is at most 1000 at a time."""
    number = sent(door, {"type": "x"})
    records = store._client.records
    fields = records.hgetall(f"sl:kue:job:{number}")
    pipeline = records.pipeline(transaction=False)
    for copy in range(1000, 1000 + MAX_LISTED + 1):
        pipeline.hset(f"sl:kue:job:{copy}", mapping=fields)
        pipeline.zadd("sl:kue:jobs", {f"04|{copy}": 0})
    pipeline.execute()
    assert len(door.get("/kue/jobs/0..-1").json()) == MAX_LISTED
    assert len(door.get("/kue/jobs/1..5000").json()) == MAX_LISTED


def test_an_order_that_is_deleted_takes_its_job_along(eight: TestClient, store: OrderStore) -> None:
    """Whoever deletes it, and from every list."""
    (order,) = store.find(labels={"kue": "8"}).orders
    store.cancel(order.id)
    assert [job["id"] for job in eight.get("/kue/jobs/failed/0..9").json()] == [4, 8]
    store.delete(order.id)
    assert [job["id"] for job in eight.get("/kue/jobs/failed/0..9").json()] == [4]
    assert eight.get("/kue/job/8").json() == {"error": 'job "8" doesnt exist'}
    assert eight.get("/kue/stats").json()["failedCount"] == 1
