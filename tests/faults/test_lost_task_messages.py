"""Task messages that are lost, sent twice, or no task messages at all."""

import json
import threading
from pathlib import Path

import redis

from broker.order_store import OrderStore, TaskMessage
from broker.orders.request import OrderRequest
from broker.settings.config import BrokerSettings
from demo.techcyte import TechcyteReceiver
from tests.faults.fleet import Fleet
from tests.faults.orders import delivered, order_body
from tests.support.stack import wait_for

COURIERS = ("courier-1", "courier-2")


def an_order() -> OrderRequest:
    scans = [{"id": "1", "source": {"type": "path", "path": "/slides/a.svs"}}]
    return OrderRequest.model_validate({"algorithm": "grid", "scans": scans}, strict=False)


def test_a_task_message_lost_with_its_courier_is_sent_again(
    fleet: Fleet, lab: TechcyteReceiver, slides: Path, celery_database: redis.Redis
) -> None:
    """Between taking the message and claiming the work only the record knows of it."""
    for courier in COURIERS:
        fleet.kill(courier)
    order_id = fleet.order(**order_body(slides, lab))
    assert celery_database.lpop("fetch")
    for courier in COURIERS:
        fleet.start(courier)
    delivered(fleet, order_id)
    assert len(lab.ledger) == 1


def test_task_messages_that_a_killed_scheduler_did_not_send_come_again(
    broker_settings: BrokerSettings,
) -> None:
    """It was killed before it sent what is due: the next look finds it again, a little later."""
    store = OrderStore.connect(broker_settings.model_copy(update={"hint_again_s": 0.2}))
    order_id = store.create(an_order(), queue="gpu").order_id
    for _ in range(3):
        messages = wait_for(store.due, within_s=5, what="the scheduler")
        assert [message.work for message in messages] == [f"{order_id}.0"]


def test_schedulers_side_by_side_send_each_message_once(store: OrderStore) -> None:
    """Of four schedulers that look at the same time, one gets what is due."""
    ids = [store.create(an_order(), queue="gpu").order_id for _ in range(20)]
    messages: list[TaskMessage] = []

    def look_until_all() -> None:
        def has_all() -> bool:
            messages.extend(store.due())
            return len(messages) >= len(ids)

        wait_for(has_all, within_s=5, what="all messages")

    schedulers = [threading.Thread(target=look_until_all) for _ in range(4)]
    for scheduler in schedulers:
        scheduler.start()
    for scheduler in schedulers:
        scheduler.join()
    assert sorted(message.work for message in messages) == sorted(
        f"{order_id}.0" for order_id in ids
    )


def test_rubbish_on_the_queues_costs_at_most_a_restart(
    fleet: Fleet, lab: TechcyteReceiver, slides: Path, celery_database: redis.Redis
) -> None:
    """Celery discards a message for an unknown task and ends over bytes that are no message.

    What lies behind them on the queue is done.
    """
    unknown = json.dumps(
        {
            "body": "W1tdLCB7fSwge31d",
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {"lang": "py", "task": "no.such.task", "id": "1"},
            "properties": {
                "delivery_tag": "1",
                "delivery_info": {"exchange": "", "routing_key": "fetch"},
                "delivery_mode": 2,
                "body_encoding": "base64",
            },
        }
    ).encode()
    for queue in ("fetch", "gpu", "deliver"):
        celery_database.rpush(queue, unknown, b"\x00rubbish")
    order_id = fleet.order(**order_body(slides, lab))
    wait_for(
        lambda: fleet.tend() and fleet.get(order_id)["state"] == "delivered",
        what="the order behind the rubbish",
    )
    wait_for(
        lambda: fleet.tend() and not any(map(celery_database.llen, ("fetch", "gpu", "deliver"))),
        what="empty queues",
    )
    assert len(lab.ledger) == 1
