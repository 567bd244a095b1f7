"""The Celery app and how task messages are enqueued.

A message carries one id of work and may be lost or delivered twice. The record in Redis decides
what is done: see `broker.order_store`.
"""

import logging
from collections.abc import Iterable, Sequence
from functools import cache
from threading import Lock
from typing import Any

from celery import Celery, signals
from celery.app import trace
from kombu.exceptions import BatchPublishError, LimitExceeded, OperationalError
from kombu.pools import ProducerPool

from broker.log import OUTAGE_CODE, set_up
from broker.order_store import TaskMessage
from broker.order_store.redis_url import RedisUrl
from broker.order_store.viewed_slides import SlideMessage
from broker.orders.order import Stage
from broker.queue.names import queue_name
from broker.queue.transport import check_messages
from broker.settings.config import load

TASKS: dict[Stage, str] = {
    "fetch": "slidelane.fetch",
    "classify": "slidelane.classify",
    "deliver": "slidelane.deliver",
}
FETCH_SLIDE_TASK = "slidelane.fetch_slide"
"""The task that fetches a slide that somebody looks at."""
_PRODUCERS = 8
_PRODUCER_WAIT_S = 1.0
# Whoever enqueues has a caller who waits. A lost message is better than a slow answer, because the
# scheduler sends it again.
_PRODUCER_OPTIONS = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0, "max_retries": 0}
_log = logging.getLogger(__name__)


def _settings() -> dict[str, Any]:
    address = RedisUrl.of(load().broker)
    return {
        "broker_url": address.broker_url,
        "broker_use_ssl": dict(address.tls) or False,
        # messages are ids, and nothing that could be code
        "task_serializer": "json",
        "accept_content": ["json"],
        # the record is the only place where results are
        "task_ignore_result": True,
        "result_backend": None,
        # the lease recovers lost work within seconds; late acknowledgement would do it twice
        "task_acks_late": False,
        # a message stays on its queue until some worker has a free slot for it
        "worker_disable_prefetch": True,
        "worker_prefetch_multiplier": 1,
        # CUDA does not survive a fork; a spawned child needs time to import torch
        "worker_pool_start_method": "spawn",
        "worker_proc_alive_timeout": 120,
        # wait for a broker that went away; running work has its lease and goes on
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        # nothing is prefetched, so there is nothing to reduce and to tell of
        "worker_enable_prefetch_count_reduction": False,
        "broker_transport_options": address.broker_options
        | {
            "queue_order_strategy": "priority",
            # with the default None, publishing hangs for as long as the broker is frozen
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 25,
        },
        # Flower shows these events
        "worker_send_task_events": True,
        "worker_consumer": "broker.queue.event_batches:EventBatchingConsumer",
        "task_send_sent_event": True,
        "task_default_queue": "fetch",
        "task_create_missing_queues": True,
        # work is handed back on a cold shutdown, and no task waits for an ETA
        "worker_enable_soft_shutdown_on_idle": False,
    }


app = Celery("slidelane")
app.add_defaults(_settings)
_first_use = Lock()


def enqueue(messages: Iterable[TaskMessage]) -> None:
    """Put messages on their queues; takes seconds at most, whatever state the broker is in.

    A failure is logged and not raised, because the scheduler sends the messages again.
    """
    _send([_task(message) for message in messages])


def enqueue_slides(messages: Iterable[SlideMessage]) -> None:
    """Put messages of slides to fetch on the queue `fetch`, as `enqueue` does those of work."""
    _send([_slide_task(message) for message in messages])


def _task(message: TaskMessage) -> dict[str, Any]:
    """Return what Celery is to send for a message."""
    return {
        "name": TASKS[message.stage],
        "args": [message.work],
        "task_id": message.task_id,
        "queue": message.queue,
    }


def _slide_task(message: SlideMessage) -> dict[str, Any]:
    return {
        "name": FETCH_SLIDE_TASK,
        "args": [message.slide_id],
        "task_id": message.task_id,
        "queue": queue_name("fetch", message.priority),
    }


def _send(tasks: Sequence[dict[str, Any]]) -> None:
    if not tasks:
        return
    try:
        producers = _producers()
        with (
            producers.acquire(block=True, timeout=_PRODUCER_WAIT_S) as producer,
            producer.batch(),
        ):
            for task in tasks:
                app.send_task(**task, retry=False, producer=producer)
    except (OperationalError, BatchPublishError, LimitExceeded) as error:
        _log.warning(
            "a message could not be sent, the scheduler will: %s",
            type(error).__name__,
            extra={"code": OUTAGE_CODE},
        )


@signals.setup_logging.connect
def _set_up_log(**_: object) -> None:
    """Replace Celery's own log, in the worker and in its spawned children."""
    set_up(load().broker.log)
    # Its lines about each message say less than those of the stages.
    logging.getLogger("celery").setLevel(logging.WARNING)
    logging.getLogger(trace.__name__).addFilter(_is_not_said_already)


def _is_not_said_already(record: logging.LogRecord) -> bool:
    """Return whether a line of Celery about the end of a task says more than our own line.

    `worker.tasks` writes one line, with its fields, for each task that fails or is given back.
    """
    if record.msg in (trace.LOG_RETRY, trace.LOG_IGNORED):
        return False
    data = getattr(record, "data", None) or {}
    return bool(data.get("description") != trace.log_policy_expected.description)


def _producers() -> Any:
    # Celery reads its settings at the first use; two threads at once would see half of them
    with _first_use:
        return _producer_pool()


@cache
def _producer_pool() -> Any:
    app.finalize()
    check_messages()
    connection = app.connection_for_write(transport_options=_PRODUCER_OPTIONS)
    connections = connection.Pool(limit=_PRODUCERS)
    return ProducerPool(connections, limit=_PRODUCERS)  # type: ignore[no-untyped-call]
