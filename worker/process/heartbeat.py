"""What a worker's parent process reports to the store: it is alive, it lost a child, it leaves."""

import logging
import time
from collections.abc import Iterable

from celery import signals

from broker.errors import TemporaryError
from broker.order_store import OrderStore
from broker.orders.algorithm_card import AlgorithmCard
from broker.queue.celery_app import enqueue
from broker.queue.task_report import TaskFailedError

_INTERVAL_S = 5.0
_log = logging.getLogger(__name__)


class Heartbeat:
    """The heartbeat of one worker.

    It is sent from Celery's event loop, so that a worker whose loop is stuck counts as gone.
    """

    def __init__(
        self, store: OrderStore, name: str, queues: list[str], cards: Iterable[AlgorithmCard]
    ) -> None:
        self._store = store
        self._name = name
        self._queues = queues
        self._cards = tuple(cards)
        self._reported_at = 0.0

    def connect_signals(self) -> None:
        """Handle Celery's signals from now on."""
        signals.heartbeat_sent.connect(self.beat, weak=False)
        signals.task_failure.connect(self.child_lost, weak=False)
        signals.worker_shutdown.connect(self.leave, weak=False)

    def beat(self, **_: object) -> None:
        """Report that this worker is alive; the first time also announce its algorithms."""
        if self._reported_at and time.monotonic() - self._reported_at < _INTERVAL_S:
            return
        try:
            if not self._reported_at:
                self._store.announce(self._cards)
            self._store.present(self._name, self._queues)
            self._reported_at = time.monotonic()
        except TemporaryError as error:
            _log.warning("could not report that this worker is alive: %s", error.detail)

    def child_lost(
        self, exception: BaseException, args: list[str] | None = None, **_: object
    ) -> None:
        """Report that a child died under its task, so that nobody waits for the lease to end."""
        if isinstance(exception, TaskFailedError):
            return  # the record has this end already
        reason = " ".join(str(exception).split())
        try:
            for work in args or ():
                enqueue(self._store.take_back(self._name, reason, work=work))
        except TemporaryError as error:
            _log.warning("a lost child could not be reported, its lease ends: %s", error.detail)

    def leave(self, **_: object) -> None:
        """Give back what the children held, without counting an attempt, and sign off."""
        try:
            enqueue(self._store.take_back(self._name, "it was asked to stop", asked_to_stop=True))
            self._store.leave(self._name)
        except TemporaryError as error:
            _log.warning("could not report that this worker leaves: %s", error.detail)
