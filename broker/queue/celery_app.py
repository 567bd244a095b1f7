"""The Celery app: three stages, stable task names, messages that carry one id.

A message is a hint and may be lost or doubled; the record is the truth.
"""

import logging
from collections.abc import Iterable
from functools import cache
from threading import Lock
from typing import Any

from celery import Celery, signals
from kombu.exceptions import BatchPublishError, LimitExceeded, OperationalError
from kombu.pools import ProducerPool

from broker.log import set_up
from broker.order_store import TaskMessage
from broker.order_store.redis_url import RedisUrl
from broker.orders.order import Stage
from broker.settings.config import load

TASKS: dict[Stage, str] = {
    "fetch": "slidelane.fetch",
    "classify": "slidelane.classify",
    "deliver": "slidelane.deliver",
}
_RINGERS = 8
_RINGER_WAIT_S = 1.0
# Whoever rings has an order to answer for: better a lost hint, which the timer sends again, than a caller who waits.
_RING = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0, "max_retries": 0}
_log = logging.getLogger(__name__)


def _settings() -> dict[str, Any]:
    address = RedisUrl.of(load().broker)
    return {
        "broker_url": address.broker_url,
        "broker_use_ssl": dict(address.tls) or False,
        # ids only, and nothing that could be code
        "task_serializer": "json",
        "accept_content": ["json"],
        # no second truth beside the record
        "task_ignore_result": True,
        "result_backend": None,
        # the lease recovers lost work in seconds; late acknowledgement would double it
        "task_acks_late": False,
        # a hint stays on its queue, for whoever is free first, until a slot is really free
        "worker_disable_prefetch": True,
        "worker_prefetch_multiplier": 1,
        # CUDA does not survive fork; a spawned child needs its time to import torch
        "worker_pool_start_method": "spawn",
        "worker_proc_alive_timeout": 120,
        # a broker that went away is waited for; running work has its lease and is not cut short
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_transport_options": address.broker_options
        | {
            "queue_order_strategy": "priority",
            # safe because early-acknowledged messages stay unacknowledged for milliseconds
            "visibility_timeout": 60,
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
            # the default None hangs a publish for as long as the broker is frozen
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 25,
        },
        # Flower
        "worker_send_task_events": True,
        "task_send_sent_event": True,
        "task_default_queue": "fetch",
        "task_create_missing_queues": True,
        # the lease is given back on a cold shutdown; nothing here waits for an ETA
        "worker_enable_soft_shutdown_on_idle": False,
    }


_first_use = Lock()
app = Celery("slidelane")
app.add_defaults(_settings)


@signals.setup_logging.connect
def _log_as_everybody_does(**_: object) -> None:
    set_up(load().broker.log)  # in the worker and in its spawned children alike


@cache
def _pool() -> Any:
    app.finalize()
    connections = app.connection_for_write(transport_options=_RING).Pool(limit=_RINGERS)
    return ProducerPool(connections, limit=_RINGERS)  # type: ignore[no-untyped-call]


def _ringers() -> Any:
    with _first_use:  # Celery reads its settings when first needed, and two threads at once would see half of them
        return _pool()


def enqueue(hints: Iterable[TaskMessage]) -> None:
    """Ring the doorbell, within seconds whoever answers. A failure is logged, not raised: the timer rings again."""
    hints = tuple(hints)
    if not hints:
        return
    try:
        with _ringers().acquire(block=True, timeout=_RINGER_WAIT_S) as producer, producer.batch():
            for hint in hints:
                app.send_task(
                    TASKS[hint.stage],
                    args=[hint.work],
                    queue=hint.queue,
                    retry=False,
                    producer=producer,
                )
    except (OperationalError, BatchPublishError, LimitExceeded) as error:
        _log.warning("a hint could not be sent, the timer will: %s", type(error).__name__)
