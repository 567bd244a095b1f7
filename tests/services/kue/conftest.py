"""The door for clients of Kue, and what a viewer of caMicroscope 2.x sends through it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from broker.order_store import OrderStore
from broker.settings.config import Config, load
from services.app import create_app
from services.kue.examples import JOB
from tests.services.conftest import LOOPBACK

LOADER = {"type": "annotation", "url": "http://127.0.0.1:8081/submitZipOrder"}
TYPES = {
    "analysisJob": {
        "algorithm": "ki67",
        "parameters": {"positive_threshold": 0.3},
        "destination": "loader",
        "mpp": 0.25,
    },
    "order": {"algorithm": "ki67"},
    "nothing": {"algorithm": "absent"},
}
CASES = {"CMU1": {"type": "path", "path": "/slides/CMU1.svs"}}
Job = Callable[..., dict[str, Any]]


def settings(config: Config, **kue: Any) -> Config:
    """Return the settings with the door open, and a locator of cases."""
    services = config.services.model_dump() | {
        "max_body_bytes": 1_000_000,
        "destinations": {"loader": LOADER},
        "kue": {"types": TYPES} | kue,
    }
    worker = config.worker.model_dump() | {"locator": {"type": "map", "cases": CASES}}
    return load(broker=config.broker.model_dump(), services=services, worker=worker)


def client(config: Config, store: OrderStore) -> TestClient:
    """Return a program on this machine."""
    return TestClient(create_app(config, store), base_url="http://127.0.0.1:8000", client=LOOPBACK)


@pytest.fixture
def door(config: Config, announced: OrderStore) -> TestClient:
    return client(settings(config), announced)


@pytest.fixture
def viewer_job() -> Job:
    """What the viewer sends, every leaf a text, with `order` over its order and `more` over it."""

    def job(order: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        copied: dict[str, Any] = json.loads(json.dumps(JOB))
        copied["data"]["order"] |= order or {}
        return copied | more

    return job


def sent(door: TestClient, job: Any) -> int:
    """Send a job that Kue would take, and return its id."""
    answer = door.post("/kue/job", json=job)
    assert answer.status_code == 200, answer.text
    assert answer.json()["message"] == "job created"
    assert isinstance(answer.json()["id"], int)
    return int(answer.json()["id"])


def shown(door: TestClient, number: int) -> dict[str, Any]:
    """Return the job as its client reads it."""
    answer = door.get(f"/kue/job/{number}")
    assert answer.status_code == 200
    document: dict[str, Any] = answer.json()
    return document
