"""The real Kue of npm beside ours: the same calls, and what its client hears and reads in Redis.

Skipped where Node or the package `kue` is not there: `npm install --prefix DIR kue@0.11.6`, and
`NODE_PATH=DIR/node_modules`.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from urllib.request import Request, urlopen

import pytest
import redis
from fastapi.testclient import TestClient

from broker.errors import Problem
from broker.order_store import OrderStore
from broker.order_store.kue import KueListeners
from broker.order_store.redis_url import RedisUrl
from broker.queue.kue_publisher import KuePublisher
from broker.settings.config import Config
from tests.services.kue.conftest import Job, client, sent, settings
from tests.support.orders import classify, taken
from tests.support.paths import ROOT
from tests.support.redis_servers import server
from tests.support.stack import free_port

SCRIPT = ROOT / "tests" / "support" / "kue_client.js"
PASSWORD = "for-this-test"
FAULT = Problem("input_unreachable", "no answer", "look at it", blame="platform")


def why_not() -> str:
    """Return why the real Kue cannot be run here, or nothing."""
    node = shutil.which("node")
    if node is None:
        return "Node is not installed"
    found = subprocess.run(
        [node, "-e", "require('kue')"], capture_output=True, cwd="/", check=False, timeout=60
    )
    if found.returncode:
        return "the package kue of npm is not in NODE_PATH"
    return ""


WHY_NOT = why_not()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "it is there")


class RealKue:
    """A process of Node with the real Kue."""

    def __init__(self, *arguments: object) -> None:
        self._process = subprocess.Popen(
            ["node", str(SCRIPT), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
            env=os.environ | {"NODE_NO_WARNINGS": "1"},
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()

    def line(self) -> Any:
        """Return what it prints next."""
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())


@pytest.fixture
def redis_of_kue(tmp_path: Path) -> Iterator[int]:
    """A Redis for Kue alone; its port."""
    with server(tmp_path / "kue-redis", f"requirepass {PASSWORD}\n") as (_, port):
        yield port


@pytest.fixture
def real(redis_of_kue: int) -> Iterator[str]:
    """The address of the real Kue."""
    port = free_port()
    with RealKue("serve", port, redis_of_kue, PASSWORD) as kue:
        assert kue.line() == "ready"
        yield f"http://127.0.0.1:{port}"


def called(url: str, method: str, path: str, body: str, media_type: str) -> tuple[int, str, bytes]:
    """Return status, content type and body of the real Kue's answer."""
    headers = {}
    content = None
    if method == "POST":
        headers["Content-Type"] = media_type
        content = body.encode()
    request = Request(url + path, content, headers, method=method)
    try:
        with urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers.get("Content-Type", ""), answer.read()
    except OSError as error:
        if not hasattr(error, "code"):
            raise
        with error:  # type: ignore[attr-defined]
            return error.code, error.headers.get("Content-Type", ""), error.read()  # type: ignore[attr-defined]


def shape(value: Any, name: str = "") -> Any:
    """Return a document with times replaced by their type, which both must have."""
    if isinstance(value, dict):
        return {key: shape(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    if name.endswith("_at"):
        return [type(value).__name__, len(str(value))]
    return value


def calls(job: Job) -> list[tuple[str, str, str, str]]:
    """Return method, path, body and media type of the calls that are compared."""
    json_type = "application/json"
    first = json.dumps(job())
    high = json.dumps(job(options={"priority": "high", "attempts": "3"}))
    late = json.dumps(job(type="order", options={"priority": 7, "delay": 900_000}))
    mixed = json.dumps([job(), {"data": {}}, job(type="order")])
    forms = "application/x-www-form-urlencoded"
    made = [(body, json_type) for body in (first, high, late, mixed)]
    none = [("{}", json_type), ("[]", json_type), ("type=a", forms), (first, "text/plain")]
    refused = [('{"data": 1}', json_type), ('{"type": ""}', json_type)]
    posts = [("POST", "/job", body, kind) for body, kind in made + none + refused]
    reads = [
        *("/job/1", "/job/2", "/job/3", "/job/999", "/job/undefined", "/job/999/log", "/job/1/log"),
        *("/jobs/0..9", "/jobs/0..1", "/jobs/0..1/desc", "/jobs/1..3/asc", "/jobs/0..-1/desc"),
        *("/jobs/inactive/0..9", "/jobs/delayed/0..9/asc", "/jobs/complete/0..10/asc"),
        *("/jobs/analysisJob/inactive/0..1/desc", "/jobs/order/delayed/0..9", "/jobs/x..y"),
        *("/jobs/analysisJob/inactive/stats", "/jobs/order/failed/stats"),
    ]
    changes = [
        ("PUT", "/job/1/priority/-5"),
        ("PUT", "/job/1/priority/nothing"),
        ("PUT", "/job/999/priority/1"),
        ("PUT", "/job/1/state/inactive"),
        ("GET", "/inactive/1"),
        ("GET", "/inactive/999"),
        ("DELETE", "/job/2"),
        ("DELETE", "/job/2"),
        ("GET", "/jobs/0..9"),
        ("GET", "/job/1"),
    ]
    return [
        *posts,
        *(("GET", path, "", "") for path in reads),
        *((method, path, "", "") for method, path in changes),
    ]


def test_the_same_calls_have_the_same_answers(door: TestClient, real: str, viewer_job: Job) -> None:
    """Status, content type and body, but for times and for the lines of a log, which are ours."""
    for method, path, body, media_type in calls(viewer_job):
        theirs = called(real, method, path, body, media_type)
        headers = {"Content-Type": media_type} if media_type else {}
        answer = door.request(method, f"/kue{path}", content=body, headers=headers)
        assert answer.status_code == theirs[0], (method, path, body)
        assert answer.headers.get("content-type", "") == theirs[1], (method, path)
        if path == "/job/1/log" or not theirs[2]:
            continue
        assert shape(answer.json()) == shape(json.loads(theirs[2])), (method, path, body)


def kinds(value: Any) -> Any:
    """Return a document with each value replaced by its type; what is free to choose is left out."""
    if not isinstance(value, dict):
        return type(value).__name__
    free = ("data", "result", "progress_data")
    return {
        name: type(inner).__name__ if name in free else kinds(inner)
        for name, inner in value.items()
    }


def heard(channel: Any, last: str) -> list[Any]:
    """Return the published events up to the first of this name."""
    events: list[Any] = []
    while not events or events[-1]["event"] != last:
        message = channel.get_message(timeout=20)
        assert message, events
        if message["type"] == "message":
            events.append(json.loads(message["data"]))
    return events


def told(events: list[Any]) -> list[Any]:
    """Return the events with the types of their arguments behind their names."""
    shapes = []
    for event in events:
        name, *arguments = event["args"]
        types = [type(argument).__name__ for argument in arguments]
        shapes.append((event["event"], type(event["id"]).__name__, name, *types))
    return shapes


def end_of_ours(store: OrderStore, order_id: str, publisher: KuePublisher, fails: bool) -> None:
    """Do what workers do, with one attempt before the last one where the order fails."""
    work = f"{order_id}.0"
    if fails:
        store.give_back(taken(store, work, "fetch"), problem=FAULT)
        store.finish(taken(store, work, "fetch"), "failed", problem=FAULT)
    else:
        classify(store, order_id)
        for _ in range(4):
            publisher.step()
        store.finish(taken(store, order_id, "deliver"), "delivered")
    publisher.step()


@pytest.mark.parametrize("fails", [False, True])
def test_a_job_ends_as_with_a_real_worker(
    config: Config, announced: OrderStore, redis_of_kue: int, viewer_job: Job, fails: bool
) -> None:
    """The fields of its document and their types, the events, their order and their arguments."""
    door = client(settings(config, publish_events=True), announced)
    job: Any = viewer_job(options={"attempts": 2})
    job["data"]["fails"] = fails
    last = "failed" if fails else "complete"
    address = RedisUrl.at(f"redis://:{PASSWORD}@127.0.0.1:{redis_of_kue}/0")
    listener = redis.Redis(port=redis_of_kue, password=PASSWORD, decode_responses=True)
    channel = listener.pubsub()
    channel.subscribe("q:events")
    port = free_port()
    with RealKue("work", port, redis_of_kue, PASSWORD) as kue:
        assert kue.line() == "ready"
        url = f"http://127.0.0.1:{port}"
        called(url, "POST", "/job", json.dumps(job), "application/json")
        theirs = heard(channel, last)
        document = json.loads(called(url, "GET", "/job/1", "", "")[2])
    number = sent(door, job)
    (order,) = announced.find(labels={"kue": str(number)}).orders
    publisher = KuePublisher(announced, KueListeners(address, 1000), "courier-1@here")
    end_of_ours(announced, order.id, publisher, fails)
    ours = heard(channel, last)
    if fails:  # their worker says its progress before it fails
        theirs = [event for event in theirs if event["event"] != "progress"]
    assert told(ours) == told(theirs)
    assert kinds(door.get(f"/kue/job/{number}").json()) == kinds(document)
    listener.close()


def test_a_listener_of_kue_hears_and_reads_our_jobs(
    config: Config, announced: OrderStore, redis_of_kue: int, viewer_job: Job
) -> None:
    """The client of npm, at the Redis of `events_url`: its events, and a job as it reads it."""
    door = client(settings(config, publish_events=True), announced)
    address = RedisUrl.at(f"redis://:{PASSWORD}@127.0.0.1:{redis_of_kue}/0")
    publisher = KuePublisher(announced, KueListeners(address, 1000), "courier-1@here")
    with RealKue("listen", redis_of_kue, PASSWORD) as listener:
        assert listener.line() == "ready"
        number = sent(door, viewer_job())
        (order,) = announced.find(labels={"kue": str(number)}).orders
        publisher.step()
        assert listener.line() == ["enqueue", number, "analysisJob"]
        classify(announced, order.id)
        announced.finish(taken(announced, order.id, "deliver"), "delivered")
        publisher.step()
        assert listener.line() == ["start", number, "analysisJob", None]
        event, heard, result, nothing = listener.line()
        assert (event, heard, nothing) == ("complete", number, None)
        assert result["order"] == order.id
    with RealKue("read", redis_of_kue, PASSWORD, number) as reader:
        read = reader.line()
    ours = door.get(f"/kue/job/{number}").json()
    assert shape(read) == shape(ours)
