"""Redis is killed, frozen, emptied and its file cut short while orders are under way."""

from pathlib import Path

import pytest
import redis

from broker.errors import OrderError
from broker.order_store import OrderStore
from broker.order_store.embedded_redis import EmbeddedRedis
from broker.orders.request import OrderRequest
from broker.settings.config import BrokerSettings
from demo.techcyte import TechcyteReceiver
from tests.faults.fleet import REDIS, Fleet
from tests.faults.orders import delivered, held, order_body

RESUMED_S = 30


def test_after_redis_was_killed_every_accepted_order_is_there_and_goes_on(
    fleet: Fleet, lab: TechcyteReceiver, slides: Path
) -> None:
    """The API answers 503 meanwhile; started again, all work is resumed within half a minute."""
    placed = [fleet.order(**order_body(slides, lab)) for _ in range(5)]
    fleet.kill(REDIS)
    status, problem = fleet.call("POST", "/v1/orders", order_body(slides, lab))
    assert (status, problem["code"]) == (503, "store_unreachable")
    fleet.start(REDIS)
    for order_id in placed:
        delivered(fleet, order_id, within_s=RESUMED_S)
    assert len(lab.ledger) == len(placed)


def test_a_frozen_redis_is_answered_503_in_time_and_breaks_no_order(
    fleet: Fleet, lab: TechcyteReceiver, slides: Path
) -> None:
    """Five seconds without a heartbeat, longer than a lease: the busy scan is not lost."""
    fleet.gate.close()
    order_id = fleet.order(**order_body(slides, lab, algorithm="ki67", slide="large.svs"))
    held(fleet, order_id)
    fleet.freeze(REDIS)
    status, problem = fleet.call("POST", "/v1/orders", order_body(slides, lab))
    assert (status, problem["code"]) == (503, "store_unreachable")
    fleet.thaw(REDIS)
    fleet.gate.open()
    delivered(fleet, order_id)
    assert len(lab.ledger) == 1


def test_task_messages_that_were_flushed_come_back_from_the_records(
    fleet: Fleet, lab: TechcyteReceiver, slides: Path, celery_database: redis.Redis
) -> None:
    """Celery's database is emptied under load; every order is delivered all the same."""
    placed = []
    for _ in range(8):
        placed.append(fleet.order(**order_body(slides, lab)))
        celery_database.flushdb()
    for order_id in placed:
        delivered(fleet, order_id)
    assert len(lab.ledger) == len(placed)


def test_an_append_only_file_cut_short_starts_and_invents_nothing(tmp_path: Path) -> None:
    """A crash may cut off the last write: what it held is unknown, all before is there."""
    settings = BrokerSettings(data=tmp_path)
    scans = [{"id": "1", "source": {"type": "path", "path": "/slides/a.svs"}}]
    request = OrderRequest.model_validate({"algorithm": "grid", "scans": scans}, strict=False)
    with EmbeddedRedis(settings) as embedded:
        store = OrderStore.connect(settings)
        ids = [store.create(request, queue="gpu").order_id for _ in range(5)]
        assert embedded.process
        embedded.process.kill()
        embedded.process.wait()
        (file,) = (tmp_path / "redis" / "appendonlydir").glob("*.incr.aof")
        file.write_bytes(file.read_bytes()[:-20])
        embedded.start()
        assert [store.get(order_id).state.value for order_id in ids[:4]] == ["queued"] * 4
        with pytest.raises(OrderError, match="there is no order"):
            store.get(ids[4])
