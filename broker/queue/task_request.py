"""Celery's request, which tells of a task whose process was lost what became of its work."""

from functools import cache
from typing import Any

from billiard.exceptions import WorkerLostError
from celery.exceptions import Retry
from celery.worker import state
from celery.worker.request import Request

from broker.errors import OrderError, TemporaryError
from broker.order_store import OrderStore
from broker.orders.order import parse_work_id
from broker.queue.outcome import Outcome, given_back, recorded
from broker.queue.task_report import event_of
from broker.settings.config import load


class TaskRequest(Request):
    """A request in the worker's parent process.

    Celery would show `WorkerLostError` for every child process that ended under its task. Some end
    because their work was given up, most of the others leave work that another process goes on
    with.
    """

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> None:
        """Handle the failure of a task, after the record was told of it."""
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if not isinstance(error, WorkerLostError):
            super().on_failure(exc_info, *args, **kwargs)
            return
        # sends the signal with which `worker.process.heartbeat` takes the work back
        super().on_failure(exc_info, send_failed_event=False, return_ok=True)
        reason = " ".join(str(error).split())
        if state.should_terminate:
            reason = "the worker was asked to stop"
        event, fields = event_of(self._outcome(reason))
        self.send_event(event, **fields)

    def on_retry(self, exc_info: Any) -> None:
        """Show why work was given back; without a text, what was shown of that before stays.

        Celery would show the `repr` of its own exception.
        """
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(error, Retry):
            error = error.exc
        fields = {}
        if str(error):
            fields["exception"] = str(error)
        self.send_event("task-retried", **fields)

    def _outcome(self, reason: str) -> Outcome:
        try:
            (work,) = self.args
            order_id, _ = parse_work_id(work)
            return recorded(_store().get(order_id), work, reason)
        except (OrderError, TemporaryError) as error:
            return given_back(f"{reason}; {error.detail}")


@cache
def _store() -> OrderStore:
    return OrderStore.connect(load().broker)
