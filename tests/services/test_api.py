"""Health, numbers, what can be ordered, and how faults are told."""

import asyncio
import http.client
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from jsonschema import Draft202012Validator

from broker.errors import OrderError
from broker.order_store import OrderStore
from broker.settings.config import Config, load
from services.app import create_app
from services.examples import ORDERS
from services.requests import json_body
from services.responses import problems

OrderBody = Callable[..., dict[str, Any]]


@pytest.fixture
def port(config: Config, announced: OrderStore) -> Iterator[int]:
    """The API behind a real server on a real port."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(create_app(config, announced), log_config=None, lifespan="off")
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield listening.getsockname()[1]
    server.should_exit = True
    thread.join()


def test_a_chunked_body_is_cut_at_the_limit(port: int) -> None:
    """413 before the body's end, which is never sent: no more than the limit is taken in."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as wire:
        wire.sendall(
            b"POST /v1/orders HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for _ in range(6):
            wire.sendall(b"1000\r\n" + b" " * 0x1000 + b"\r\n")
        answer = http.client.HTTPResponse(wire)
        answer.begin()
        assert answer.status == 413
        assert b"body_too_large" in answer.read()
        answer.close()


def test_a_server_that_stops_mid_body_is_survived(port: int, api: TestClient) -> None:
    """A caller that hangs up leaves nothing behind, and the next one is served."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as wire:
        wire.sendall(
            b"POST /v1/orders HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b'Content-Length: 500\r\n\r\n{"algorithm"'
        )
    assert api.get("/v1/orders").json()["orders"] == []
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    line.request("GET", "/healthz")
    assert line.getresponse().status == 200
    line.close()


def test_a_body_that_never_ends_is_not_waited_for() -> None:
    """A caller that sends nothing more is answered when its time is over."""

    async def silence() -> Any:
        await asyncio.Event().wait()

    headers = [(b"content-type", b"application/json")]
    request = Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, silence)
    with pytest.raises(OrderError, match="did not arrive whole") as caught:
        asyncio.run(json_body.read(request, 1000, within_s=0.05))
    assert caught.value.code == "body_too_slow"


@pytest.mark.parametrize("name", ORDERS)
def test_the_published_examples_are_accepted_as_they_are(api: TestClient, name: str) -> None:
    """Each example in the OpenAPI document can be sent, and fits the published schema."""
    document = api.get("/openapi.json").json()
    content = document["paths"]["/v1/orders"]["post"]["requestBody"]["content"]["application/json"]
    order = content["examples"][name]["value"]
    Draft202012Validator(content["schema"] | {"components": document["components"]}).validate(order)
    assert api.post("/v1/orders", json=order).status_code == 202


def test_the_description_documents_problems_and_keys(api: TestClient) -> None:
    """Every operation names its problem answer; all but health, the address with a secret and those
    of Kue ask for a key; every reference leads somewhere."""
    document = api.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    operations = {path: op for path, ops in document["paths"].items() for op in ops.values()}
    assert all(
        "application/problem+json" in op["responses"]["4XX"]["content"]
        for op in operations.values()
    )
    assert {path for path, op in operations.items() if not op["security"]} == {
        "/healthz",
        "/readyz",
        "/techcyte/webhook/{secret}",
        "/kue/job",
        "/kue/job/types",
        "/kue/job/{job_id}",
        "/kue/job/{job_id}/log",
        "/kue/job/{job_id}/priority/{priority}",
        "/kue/job/{job_id}/state/{state}",
        "/kue/inactive/{job_id}",
        "/kue/jobs/{listing}",
        "/kue/stats",
    }
    text = api.get("/openapi.json").text
    for name in {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in schemas
    assert "HTTPValidationError" not in schemas


def test_no_page_loads_scripts_from_elsewhere(api: TestClient) -> None:
    """The documentation pages that come with the framework are not served: `/docs` is our own."""
    assert [api.get(path).status_code for path in ("/docs", "/redoc")] == [200, 404]
    assert "https://" not in api.get("/docs").text


def test_an_address_or_method_that_is_not_there_is_a_problem_too(api: TestClient) -> None:
    """404 and 405 in the same shape as everything else, the 405 with what is allowed."""
    missing, wrong = api.get("/v2/nothing?token=s3cret"), api.put("/v1/orders")
    assert (missing.status_code, missing.json()["code"], missing.json()["instance"]) == (
        404,
        "not_found",
        "/v2/nothing",
    )
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")
    assert wrong.headers["allow"]
    assert {a.headers["content-type"] for a in (missing, wrong)} == {"application/problem+json"}


def test_a_bug_is_logged_with_its_trace_and_told_in_one_sentence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """500 with nothing of our insides; the log has all of it."""
    app = FastAPI()
    problems.install(app)

    @app.get("/breaks")
    def breaks() -> None:
        raise LookupError("internal detail")

    with caplog.at_level(logging.ERROR):
        answer = TestClient(app).get("/breaks")
    assert (answer.status_code, answer.json()["code"]) == (500, "bug")
    assert "internal detail" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "internal detail" in caplog.text


def test_ready_names_what_is_missing(api: TestClient, announced: OrderStore) -> None:
    """503 until couriers and a queue have a worker, saying which of them has none."""
    assert api.get("/readyz").json()["detail"].count(";") == 2
    announced.present("courier", ["fetch.high", "fetch", "deliver.high", "deliver"])
    told = api.get("/readyz")
    assert told.status_code == 503
    assert told.json()["detail"] == "missing: no worker consumes a queue for classifying"
    announced.present("gpu0", ["gpu.high", "gpu"])
    assert (api.get("/readyz").status_code, api.get("/readyz").json()) == (
        200,
        {"status": "ready"},
    )


def test_without_redis_the_api_is_alive_but_not_ready(config: Config) -> None:
    """/healthz stays 200, /readyz says why not, /metrics says that it is down."""
    away = load(**config.model_dump() | {"broker": {"redis_url": "redis://127.0.0.1:1/0"}})
    app = create_app(away, OrderStore.connect(away.broker))
    api = TestClient(app, base_url="http://localhost", client=("127.0.0.1", 1))
    assert api.get("/healthz").status_code == 200
    assert api.get("/readyz").status_code == 503
    assert "Redis does not answer" in api.get("/readyz").json()["detail"]
    metrics = api.get("/metrics").text
    assert "slidelane_up 0.0" in metrics
    assert "slidelane_orders" not in metrics


def test_metrics_count_orders_queues_and_workers(
    api: TestClient, order_body: OrderBody, announced: OrderStore
) -> None:
    """What Prometheus reads is what the store holds at that moment."""
    api.post("/v1/orders", json=order_body())
    announced.present("courier", ["fetch", "deliver"])
    answer = api.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.text.splitlines()
    for line in (
        'slidelane_orders{state="queued"} 1.0',
        'slidelane_orders{state="failed"} 0.0',
        "slidelane_up 1.0",
    ):
        assert line in lines
    assert 'slidelane_queue_waiting{queue="fetch"} 1.0' in lines
    assert any(
        line.startswith('slidelane_queue_oldest_wait_seconds{queue="fetch"} ') for line in lines
    )
    assert "slidelane_workers 1.0" in lines


def test_algorithms_are_shown_as_announced(api: TestClient) -> None:
    """All of them, one of them, and a 404 that names those there are."""
    (card,) = api.get("/v1/algorithms").json()["algorithms"]
    assert api.get("/v1/algorithms/ki67").json() == card
    assert card["parameters"]["properties"]["positive_threshold"]["default"] == 0.15
    missing = api.get("/v1/algorithms/her2")
    assert (missing.status_code, missing.json()["hint"]) == (404, "there are: ki67")


def test_queues_tell_what_waits(
    api: TestClient, order_body: OrderBody, announced: OrderStore
) -> None:
    """The stage, how much waits, for how long, and who listens."""
    api.post("/v1/orders", json=order_body())
    announced.present("courier", ["fetch", "deliver"])
    (queue,) = [q for q in api.get("/v1/queues").json()["queues"] if q["name"] == "fetch"]
    assert (queue["leg"], queue["waiting"], queue["workers"]) == ("fetch", 1, 1)
    assert queue["oldest_wait_s"] >= 0


def test_fields_that_were_renamed_are_shown_by_both_names(
    api: TestClient, order_body: OrderBody, announced: OrderStore
) -> None:
    """`lane` is `queue` and `leg` is `stage`; programs that read the older names go on working."""
    api.post("/v1/orders", json=order_body())
    (card,) = api.get("/v1/algorithms").json()["algorithms"]
    assert (card["queue"], card["lane"]) == ("gpu", "gpu")
    queues = {queue["name"]: queue for queue in api.get("/v1/queues").json()["queues"]}
    assert (queues["fetch"]["stage"], queues["fetch"]["leg"]) == ("fetch", "fetch")
