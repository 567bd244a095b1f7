"""Jobs: who asked for which algorithm on which scan, how long it ran, whose fault a failure was."""

from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient

from broker.errors import Problem
from broker.order_store import Claim, OrderStore
from tests.support.orders import taken

OrderBody = Callable[..., dict[str, Any]]


def jobs(api: TestClient, **query: str) -> list[dict[str, Any]]:
    answer = api.get("/v1/jobs", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["jobs"]
    return found


def running(api: TestClient, store: OrderStore, body: dict[str, Any]) -> Claim:
    """Return the claim of the first scan of a new order, which is being classified."""
    order_id = api.post("/v1/orders", json=body).json()["id"]
    store.finish(taken(store, f"{order_id}.0", "fetch"), "staged")
    return taken(store, f"{order_id}.0", "classify")


def test_a_job_that_waits_has_no_duration(api: TestClient, order_body: OrderBody) -> None:
    """It has neither begun nor ended."""
    order_id = api.post("/v1/orders", json=order_body()).json()["id"]
    (job,) = jobs(api)
    assert {key: job[key] for key in ("order", "scan", "algorithm", "state")} == {
        "order": order_id,
        "scan": "a",
        "algorithm": "ki67",
        "state": "queued",
    }
    assert not {"started_at", "ended_at", "duration_s", "error"} & set(job)
    assert job["links"] == {"order": f"/v1/orders/{order_id}", "log": f"/v1/orders/{order_id}/log"}


def test_a_job_that_ended_has_its_duration_and_its_output(
    api: TestClient, store: OrderStore, order_body: OrderBody
) -> None:
    """The link to what the program printed is that of the scan; a running one counts until now."""
    claim = running(api, store, order_body())
    (job,) = jobs(api)
    assert job["state"] == "classifying"
    assert "ended_at" not in job
    assert job["duration_s"] >= 0
    store.finish(claim, "classified", {"result": "results/x", "files": ["output.log"]})
    (job,) = jobs(api)
    assert job["started_at"] <= job["ended_at"]
    assert 0 <= job["duration_s"] < 120
    scan = f"/v1/orders/{job['order']}/scans/a"
    assert job["links"]["output.log"] == f"{scan}/output.log"
    shown = api.get(job["links"]["order"]).json()["scans"][0]
    assert (shown["started_at"], shown["ended_at"]) == (job["started_at"], job["ended_at"])


def test_a_failed_job_says_whose_fault_it_was(
    api: TestClient, store: OrderStore, order_body: OrderBody
) -> None:
    """With the code and the blame; another try begins without times."""
    claim = running(api, store, order_body())
    problem = Problem("algorithm_answer_invalid", "it posted nothing", blame="algorithm")
    store.finish(claim, "failed", problem=problem)
    (job,) = jobs(api)
    assert job["state"] == "failed"
    assert (job["error"]["code"], job["error"]["blame"]) == (
        "algorithm_answer_invalid",
        "algorithm",
    )
    assert job["duration_s"] >= 0
    assert api.post(f"/v1/orders/{job['order']}/retry").status_code == 202
    (job,) = jobs(api)
    assert (job["state"], "duration_s" in job, "ended_at" in job) == ("queued", False, False)


def test_a_job_whose_order_ended_first_says_why(api: TestClient, order_body: OrderBody) -> None:
    """Somebody cancelled it before a worker began."""
    order_id = api.post("/v1/orders", json=order_body()).json()["id"]
    api.post(f"/v1/orders/{order_id}/cancel")
    (job,) = jobs(api)
    assert job["state"] == "cancelled"
    assert "duration_s" not in job


def test_work_that_was_given_back_counts_from_its_next_start(
    api: TestClient, store: OrderStore, order_body: OrderBody
) -> None:
    """Between two attempts it waits, and has no duration."""
    claim = running(api, store, order_body())
    store.give_back(claim, reason="its worker stops")
    (job,) = jobs(api)
    assert (job["state"], "duration_s" in job) == ("staged", False)
    taken(store, claim.work, "classify")
    assert jobs(api)[0]["duration_s"] < 120


def test_jobs_are_filtered_and_paged_like_orders(api: TestClient, order_body: OrderBody) -> None:
    """All scans of an order are on one page; an algorithm that nobody ordered has no jobs."""
    source = order_body()["scans"][0]["source"]
    scans = [{"id": name, "source": source} for name in ("a", "b")]
    for _ in range(3):
        api.post("/v1/orders", json=order_body(scans=scans))
    first = api.get("/v1/jobs", params={"limit": "1"}).json()
    assert [job["scan"] for job in first["jobs"]] == ["a", "b"]
    rest = api.get("/v1/jobs", params={"limit": "50", "cursor": first["next"]}).json()
    assert len(rest["jobs"]) == 4
    assert rest["next"] is None
    assert jobs(api, algorithm="mitosis") == []
    assert len(jobs(api, algorithm="ki67", state="queued")) == 6
    assert api.get("/v1/jobs", params={"scan": "a"}).status_code == 422


def test_a_record_that_cannot_be_read_hides_no_job(
    api: TestClient, store: OrderStore, order_body: OrderBody
) -> None:
    """It stands in the list with its problem."""
    damaged = api.post("/v1/orders", json=order_body()).json()["id"]
    store._client.records.hset(f"sl:order:{damaged}", "request", "{")
    api.post("/v1/orders", json=order_body())
    newest, oldest = jobs(api)
    assert newest["scan"] == "a"
    assert (oldest["id"], oldest["error"]["code"]) == (damaged, "record_unreadable")
