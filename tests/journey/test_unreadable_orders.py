"""What runs beside a damaged record goes on: the worker that waits for its end, and the cleanup."""

import os
from typing import Any

import pytest

from broker.order_store import OrderStore
from broker.order_store.redis_client import RedisClient
from broker.order_store.redis_url import RedisUrl
from broker.queue.names import worker_name
from broker.settings.config import BrokerSettings, Config
from slidelane.worker import SupervisedWorker
from tests.support.orders import a_request


@pytest.fixture
def records(redis_url: str) -> Any:
    return RedisClient(RedisUrl.at(redis_url)).records


@pytest.mark.parametrize("role", ["gpu", "courier"])
@pytest.mark.parametrize(
    "damage", [{"request": "{"}, {"state": "pondering"}, {"created_at": "x"}, {"scans": "x"}]
)
def test_a_worker_that_waits_for_the_end_waits_for_no_damaged_order(
    store: OrderStore,
    records: Any,
    broker_settings: BrokerSettings,
    role: str,
    damage: dict[str, str],
) -> None:
    """It ends when nothing is left that can be done; an order that can be read still counts."""
    store.present(worker_name(role, os.getpid()), [role])
    worker = SupervisedWorker(Config(broker=broker_settings), role, None, until_idle=True)
    damaged = store.create(a_request(), queue="gpu").order_id
    records.hset(f"sl:order:{damaged}", mapping=damage)
    assert worker._is_idle(os.getpid())
    fine = store.create(a_request(), queue="gpu").order_id
    assert not worker._is_idle(os.getpid())
    store.cancel(fine)
    assert worker._is_idle(os.getpid())
