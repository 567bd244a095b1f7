"""Real parts for every test: one Redis of our own, a fresh store on it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from broker.order_store import Claim, OrderStore
from broker.order_store.embedded_redis import EmbeddedRedis
from broker.order_store.redis_client import RedisClient
from broker.order_store.redis_url import RedisUrl
from broker.orders.request import OrderRequest
from broker.settings.config import BrokerSettings
from tests.support.paths import ROOT

PROCESS_TESTS = ("browser", "faults", "journey", "stops")
"""The folders below tests/ whose tests start the service as processes."""


def pytest_configure() -> None:
    """Give torch one thread in a test process, and let all its threads sleep while they wait.

    Workers under test inherit the second. Threads of OpenMP spin otherwise, to be ready at once:
    two test processes with two threads each on two cores took 87 s of CPU for a training that
    takes 16 s.

    Processes under test keep the bytecode of our modules, also where the environment says not to:
    a worker that compiles them again starts with 1.6 s of CPU instead of 1.4 s.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # An example takes as long as a busy machine lets it: what is slow is measured in benchmarks/.
    settings.register_profile("slidelane", deadline=None)
    settings.load_profile("slidelane")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests of whole processes two more tries; `make test` lists each one that needed them.

    They stop, kill and restart processes on machines that are busy with other tests. One try of
    400 that comes out otherwise must not hide what the other 6,000 tests say.
    """
    for item in items:
        if item.path.relative_to(ROOT / "tests").parts[0] in PROCESS_TESTS:
            item.add_marker(pytest.mark.flaky(reruns=2))


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = BrokerSettings(data=tmp_path_factory.mktemp("redis"))
    with EmbeddedRedis(settings) as embedded:
        assert embedded.process
        yield (settings.data / "redis" / "url").read_text()


@pytest.fixture
def broker_settings(redis_url: str, tmp_path: Path) -> BrokerSettings:
    client = RedisClient(RedisUrl.at(redis_url))
    client.records.flushall()
    return BrokerSettings(redis_url=redis_url, data=tmp_path / "data", allow_hosts=("127.0.0.1",))


@pytest.fixture
def store(broker_settings: BrokerSettings) -> OrderStore:
    return OrderStore.connect(broker_settings)


@pytest.fixture
def claim(store: OrderStore) -> Claim:
    """One scan, being fetched by a worker called w."""
    slide = {"id": "1", "source": {"type": "path", "path": "/a.svs"}}
    created = store.create(
        OrderRequest.model_validate({"algorithm": "grid", "scans": (slide,)}), queue="gpu"
    )
    claim = store.claim(f"{created.order_id}.0", "fetch", "w")
    assert claim
    return claim
