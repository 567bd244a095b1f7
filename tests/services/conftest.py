"""The API as it is deployed: its app on a real store, a real card, callers on loopback."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from broker.order_store import OrderStore
from broker.orders.algorithm_card import AlgorithmCard, ClassCard
from broker.settings.config import BrokerSettings, Config, load
from services.app import create_app

LOOPBACK = ("127.0.0.1", 50000)
KEYS = {"clerk": "order-key-1", "reader": "read-key-2", "chief": "admin-key-3"}
SCOPES = {"clerk": ["order"], "reader": ["read"], "chief": ["admin"]}
CARD = AlgorithmCard(
    name="ki67",
    version="1",
    digest="0" * 64,
    title="Ki-67",
    description="Counts nuclei.",
    output="objects",
    mpp=0.5,
    classes=(ClassCard(name="positive", color="#ff0000", annotation_type="ki67_positive"),),
    parameters={
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "positive_threshold": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.15},
            "sizes": {"type": "array", "items": {"type": "integer"}},
        },
    },
    queue="gpu",
)


@pytest.fixture(scope="session", autouse=True)
def celery_broker(redis_url: str) -> Iterator[None]:
    """Celery finds its Redis in the environment, as in a deployed service."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SLIDELANE_BROKER__REDIS_URL", redis_url)
        yield


@pytest.fixture
def config(broker_settings: BrokerSettings) -> Config:
    return load(
        broker=broker_settings.model_dump(),
        services={"max_body_bytes": 20_000},
        worker={"slides": {"roots": ["/slides"]}},
    )


@pytest.fixture
def announced(store: OrderStore) -> OrderStore:
    """A store to which a worker has said what it can do."""
    store.announce([CARD])
    return store


@pytest.fixture
def api(config: Config, announced: OrderStore) -> TestClient:
    return TestClient(
        create_app(config, announced), base_url="http://127.0.0.1:8000", client=LOOPBACK
    )


@pytest.fixture
def keyed(config: Config, announced: OrderStore) -> TestClient:
    """An API with three keys, called from another machine."""
    keys = [
        {"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), "scopes": SCOPES[name]}
        for name, key in KEYS.items()
    ]
    locked = load(**config.model_dump() | {"services": {"keys": keys, "host": "0.0.0.0"}})  # noqa: S104 - to test it
    return TestClient(
        create_app(locked, announced),
        base_url="https://slides.example.org",
        client=("203.0.113.7", 4711),
    )


@pytest.fixture
def order_body() -> Callable[..., dict[str, Any]]:
    """An order that is right in every field, with `more` over it."""

    def body(**more: Any) -> dict[str, Any]:
        source = {"type": "url", "url": "https://slides.example.org/a.svs?X-Amz-Signature=f00dfeed"}
        return {"algorithm": "ki67", "scans": [{"id": "a", "source": source}]} | more

    return body
