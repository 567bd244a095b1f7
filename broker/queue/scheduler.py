"""The scheduler: repeats lost messages, ends leases and expires orders when their time has come.

Every courier runs one. Several at once are safe, and when one dies the others do its work.
"""

import logging
from threading import Event

from broker.errors import TemporaryError
from broker.log import REDIS_IS_BACK
from broker.order_store import OrderStore
from broker.queue.celery_app import enqueue, enqueue_slides

TICK_S = 0.25
_PAUSE_S = 2.0
_log = logging.getLogger(__name__)


def run_scheduler(store: OrderStore, stopped: Event) -> None:
    """Check what is due every `TICK_S` until `stopped`; go on after an outage of Redis."""
    pause_s = TICK_S
    while not stopped.wait(pause_s):
        try:
            enqueue(store.due())
            enqueue_slides(store.viewed_slides.due())
        except TemporaryError as error:
            _log.warning("the scheduler waits: %s", error.detail, extra={"code": error.code})
            pause_s = _PAUSE_S
            continue
        if pause_s == _PAUSE_S:
            _log.info(REDIS_IS_BACK)
        pause_s = TICK_S
