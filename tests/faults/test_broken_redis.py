"""Redis killed, frozen, emptied of hints and cut short, under orders that are on their way."""

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
from tests.faults.orders import delivered, wish
from tests.support.stack import wait_for

RESUMED_S = 30


def test_after_redis_was_killed_every_accepted_order_is_there_and_goes_on(
    fleet: Fleet, lab: TechcyteReceiver, slides: Path
) -> None:
    """The API answers 503 meanwhile; started again, all work is resumed within half a minute."""
    placed = [fleet.order(**wish(slides, lab)) for _ in range(5)]
    fleet.kill(REDIS)
    status, problem = fleet.call("POST", "/v1/orders", wish(slides, lab))
    assert (status, problem["code"]) == (503, "store_unreachable")
    fleet.start(REDIS)
    for order_id in placed:
        delivered(fleet, order_id, within_s=RESUMED_S)
    assert len(lab.ledger) == len(placed)


def test_a_frozen_redis_is_answered_503_in_time_and_breaks_no_order(
    fleet: Fleet, lab: TechcyteReceiver, slides: Path
) -> None:
    """Five seconds without a heartbeat, longer than a lease: the scan that is being classified is not lost."""
    order_id = fleet.order(**wish(slides, lab, algorithm="ki67", slide="large.svs"))
    wait_for(lambda: fleet.get(order_id)["scans"][0]["state"] == "classifying", what="classifying")
    fleet.freeze(REDIS)
    status, problem = fleet.call("POST", "/v1/orders", wish(slides, lab))
    assert (status, problem["code"]) == (503, "store_unreachable")
    fleet.thaw(REDIS)
    delivered(fleet, order_id)
    assert len(lab.ledger) == 1


def test_hints_that_were_flushed_come_back_from_the_records(
    fleet: Fleet, lab: TechcyteReceiver, slides: Path, hints: redis.Redis
) -> None:
    """Celery's database is emptied under load; every order is delivered all the same."""
    placed = []
    for _ in range(8):
        placed.append(fleet.order(**wish(slides, lab)))
        hints.flushdb()
    for order_id in placed:
        delivered(fleet, order_id)
    assert len(lab.ledger) == len(placed)


def test_an_append_only_file_cut_short_starts_and_invents_nothing(tmp_path: Path) -> None:
    """A crash of the machine may cut the last write: what it held is unknown afterwards, all before is there."""
    settings = BrokerSettings(data=tmp_path)
    scans = [{"id": "1", "source": {"type": "path", "path": "/slides/a.svs"}}]
    asked = OrderRequest.model_validate({"algorithm": "grid", "scans": scans}, strict=False)
    with EmbeddedRedis(settings) as embedded:
        store = OrderStore.connect(settings)
        ids = [store.create(asked, queue="gpu").order_id for _ in range(5)]
        assert embedded.process
        embedded.process.kill()
        embedded.process.wait()
        (file,) = (tmp_path / "redis" / "appendonlydir").glob("*.incr.aof")
        file.write_bytes(file.read_bytes()[:-20])
        embedded.start()
        assert [store.get(order_id).state.value for order_id in ids[:4]] == ["queued"] * 4
        with pytest.raises(OrderError, match="there is no order"):
            store.get(ids[4])
