"""Orders without the work: claim, lease, finish and ring on every stage, and nothing between. What keeping orders costs.

Takes the place of `worker.tasks` in a worker; must not know slides, results or receivers.
"""

import logging
from threading import Event, Thread

from celery import current_task, signals

from broker.orders.order import Stage
from broker.queue.celery_app import TASKS, app, enqueue
from broker.queue.scheduler import run_scheduler
from worker.context import worker_context
from worker.process.lease import Lease, Limits

__all__ = ["app"]
_log = logging.getLogger(__name__)


@app.task(name=TASKS["fetch"])
def fetch(work: str) -> None:
    """The slide is near at once."""
    _take(work, "fetch", "staged")


@app.task(name=TASKS["classify"])
def classify(work: str) -> None:
    """There is nothing to find."""
    _take(work, "classify", "classified")


@app.task(name=TASKS["deliver"])
def deliver(work: str) -> None:
    """There is nobody to tell."""
    _take(work, "deliver", "delivered")


def _take(work: str, stage: Stage, to: str) -> None:
    here = worker_context()
    claim = here.store.claim(work, stage, current_task.request.hostname)
    if claim:
        with Lease(here.store, claim, here.config.broker, Limits(60, 60), here.leaving, _log.error):
            hints = here.store.finish(claim, to)
        enqueue(hints)


@signals.worker_ready.connect
def _run_timer(**_: object) -> None:
    Thread(target=run_scheduler, args=(worker_context().store, Event()), daemon=True).start()
