"""Tasks that claim, lease, finish and enqueue like those of a worker, and do no work in between.

They take the place of `worker.tasks` in a worker, and show what the bookkeeping of orders costs.
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
    """Finish without fetching a slide."""
    _take(work, "fetch", "staged")


@app.task(name=TASKS["classify"])
def classify(work: str) -> None:
    """Finish without classifying."""
    _take(work, "classify", "classified")


@app.task(name=TASKS["deliver"])
def deliver(work: str) -> None:
    """Finish without delivering."""
    _take(work, "deliver", "delivered")


def _take(work: str, stage: Stage, to: str) -> None:
    context = worker_context()
    store = context.store
    claim = store.claim(work, stage, current_task.request.hostname)
    if not claim:
        return
    settings = context.config.broker
    with Lease(store, claim, settings, Limits(60, 60), context.leaving, _log.error):
        messages = store.finish(claim, to)
    enqueue(messages)


@signals.worker_ready.connect
def _start_scheduler(**_: object) -> None:
    Thread(target=run_scheduler, args=(worker_context().store, Event()), daemon=True).start()
