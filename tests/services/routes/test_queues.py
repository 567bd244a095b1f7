"""What waits and what runs can be asked for, whoever is there to do it."""

import json
from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient

from broker.order_store import Claim, OrderStore
from services.routes.monitoring.queues import DemandView
from tests.support.pages import blocks, read

OrderBody = Callable[..., dict[str, Any]]
NOTHING = {"waiting": 0, "running": 0, "unfinished": 0}


def staged(api: TestClient, store: OrderStore, body: dict[str, Any]) -> str:
    """A scan that is fetched and waits for a queue; its work's id."""
    work = f"{api.post('/v1/orders', json=body).json()['id']}.0"
    claim = store.claim(work, "fetch", "courier-1@here")
    assert claim
    store.finish(claim, "staged")
    return work


def classified_by(store: OrderStore, worker: str, work: str) -> Claim:
    store.present(worker, ["gpu"])
    claim = store.claim(work, "classify", worker)
    assert claim
    return claim


def demand(api: TestClient, name: str = "gpu") -> dict[str, int]:
    answer = api.get(f"/v1/queues/{name}")
    assert answer.status_code == 200, answer.text
    return {key: value for key, value in answer.json().items() if key != "name"}


def test_every_queue_is_listed_before_the_first_order(
    api: TestClient, announced: OrderStore
) -> None:
    """With the workers that listen to it: the couriers' queues, and each algorithm's own."""
    card = announced.cards()["ki67"]
    announced.announce([card.model_copy(update={"name": "large", "queue": "gpu-24g"})])
    announced.present("courier-1@here", ["deliver", "fetch"])
    announced.present("courier-2@there", ["deliver", "fetch"])
    announced.present("gpu-1@here", ["gpu"])
    told = {queue["name"]: queue for queue in api.get("/v1/queues").json()["queues"]}
    assert {name: queue["workers"] for name, queue in told.items()} == {
        "fetch": 2,
        "deliver": 2,
        "gpu": 1,
        "gpu-24g": 0,
    }
    assert {queue["waiting"] + queue["running"] for queue in told.values()} == {0}
    assert 'slidelane_queue_waiting{queue="gpu-24g"} 0.0' in api.get("/metrics").text


def test_work_that_waits_is_told_without_any_worker(
    api: TestClient, announced: OrderStore, order_body: OrderBody
) -> None:
    """What scales from zero must see work that nobody listens for, in every priority of the
    queue."""
    assert demand(api) == NOTHING
    staged(api, announced, order_body())
    staged(api, announced, order_body(priority="urgent"))
    assert announced.workers() == []
    assert demand(api) == {"waiting": 2, "running": 0, "unfinished": 2}


def test_work_that_runs_counts_until_it_ends(
    api: TestClient, announced: OrderStore, order_body: OrderBody
) -> None:
    """A queue with nothing waiting is not idle while a worker holds its work."""
    claim = classified_by(announced, "gpu-1@here", staged(api, announced, order_body()))
    assert demand(api) == {"waiting": 0, "running": 1, "unfinished": 1}
    assert [queue.running for queue in announced.queues() if queue.name == "gpu"] == [1]
    announced.finish(claim, "classified")
    assert demand(api) == NOTHING
    assert demand(api, "deliver") == {"waiting": 1, "running": 0, "unfinished": 1}


def test_work_of_a_worker_that_died_still_counts(
    api: TestClient, announced: OrderStore, order_body: OrderBody
) -> None:
    """Else its last worker's death would look like the end of the work."""
    classified_by(announced, "gpu-1@here", staged(api, announced, order_body()))
    announced.take_back("gpu-1@here", "killed")
    announced.leave("gpu-1@here")
    assert demand(api) == {"waiting": 1, "running": 0, "unfinished": 1}


def test_a_queue_without_work_has_none_and_a_name_that_is_none_is_refused(api: TestClient) -> None:
    """An autoscaler that asks early gets a number; a name that could never be a queue is an
    error."""
    assert demand(api, "gpu-24g") == NOTHING
    assert api.get("/v1/queues/GPU").status_code == 422


def test_prometheus_is_told_what_runs(
    api: TestClient, announced: OrderStore, order_body: OrderBody
) -> None:
    """The same two numbers, by queue."""
    staged(api, announced, order_body())
    classified_by(announced, "gpu-1@here", staged(api, announced, order_body(priority="high")))
    told = api.get("/metrics").text.splitlines()
    assert 'slidelane_queue_waiting{queue="gpu"} 1.0' in told
    assert 'slidelane_queue_running{queue="gpu.high"} 1.0' in told


def test_the_example_of_an_answer_is_one() -> None:
    """What docs/deploy.md shows an autoscaler is what the API would say."""
    (example,) = [json.loads(block) for block in blocks(read("docs/deploy.md"), "json")]
    assert DemandView.model_validate(example).model_dump() == example
    assert example["unfinished"] == example["waiting"] + example["running"]
