"""The one timer: rings again where a hint was lost, ends leases, expires orders.

Every courier runs it; several at once are safe, and one that dies only delays.
"""

import logging
from threading import Event

from broker.errors import TemporaryError
from broker.order_store import OrderStore
from broker.queue.celery_app import enqueue

TICK_S = 0.25
_PAUSE_S = 2.0
_log = logging.getLogger(__name__)


def run_scheduler(store: OrderStore, stopped: Event) -> None:
    """Look at what is due, four times a second, until `stopped`. Survives a Redis that is away."""
    pause_s = TICK_S
    while not stopped.wait(pause_s):
        try:
            enqueue(store.due())
            pause_s = TICK_S
        except TemporaryError as error:
            _log.warning("the timer waits: %s", error.detail)
            pause_s = _PAUSE_S
