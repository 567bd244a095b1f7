"""Tell Celery, and with it Flower, how a task ended.

Done work is `SUCCESS` with a sentence as its result, a failed scan or delivery `FAILURE` with
`CODE: detail` as its exception, and work that waits again `RETRY` with the reason. Celery sends
nothing again because of it: only the record decides what is tried again.
"""

import logging

from celery.exceptions import Retry
from kombu.exceptions import OperationalError

from broker.queue.celery_app import app
from broker.queue.outcome import Outcome

_log = logging.getLogger(__name__)


class TaskFailedError(Exception):
    """A scan or delivery failed. The text is `CODE: detail`."""

    def __repr__(self) -> str:
        """Return the text alone, because Celery's events carry the `repr` of an exception."""
        return str(self)


class TaskGivenBackError(Exception):
    """The work waits again, and another task will do it. The text says why."""

    def __repr__(self) -> str:
        """Return the text alone, because Celery's events carry the `repr` of an exception."""
        return str(self)


def report(outcome: Outcome) -> str:
    """Return the sentence about work that is done.

    Raise `TaskFailedError` or Celery's `Retry`. To be called outside of `except`, because Celery
    also shows the exceptions that came before.
    """
    if outcome.end == "done":
        return outcome.line
    if outcome.end == "failed":
        raise TaskFailedError(outcome.line)
    raise Retry(outcome.line, exc=TaskGivenBackError(outcome.line), when=outcome.delay_s)


def report_given_back_before() -> None:
    """Show again that this task's attempt was given back, with the reason that was shown then.

    Celery showed that the task started, when another message with its id came. Raise `Retry`.
    """
    raise Retry("given back before", exc=TaskGivenBackError())


def send_given_back_before(task_id: str, worker: str) -> None:
    """Show the same of the attempt with this id, while its message does other work."""
    _send(task_id, worker, "task-retried", {})


def send_started(task_id: str, worker: str) -> None:
    """Show that the attempt with this id began, under the message of another attempt."""
    _send(task_id, worker, "task-started", {})


def send_outcome(task_id: str, worker: str, outcome: Outcome) -> None:
    """Show how the attempt with this id ended, where its own message cannot."""
    event, fields = event_of(outcome)
    _send(task_id, worker, event, fields)


def event_of(outcome: Outcome) -> tuple[str, dict[str, str]]:
    """Return the type and the fields of Celery's event for the end of a task."""
    if outcome.end == "done":
        return "task-succeeded", {"result": repr(outcome.line)}
    if outcome.end == "failed":
        return "task-failed", {"exception": outcome.line}
    return "task-retried", {"exception": outcome.line}


def _send(task_id: str, worker: str, event: str, fields: dict[str, str]) -> None:
    """Send one of Celery's events. A lost one only makes Flower's list less complete."""
    try:
        with app.events.default_dispatcher(hostname=worker) as dispatcher:
            dispatcher.send(event, uuid=task_id, retry=False, **fields)
    except (OperationalError, OSError) as error:
        _log.warning("an event for Flower was lost: %s", type(error).__name__)
