"""What a worker's parent process reports to the store.

It is alive, which algorithms it can run, it lost a child, it leaves.
"""

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

from celery import signals

from broker.errors import TemporaryError
from broker.log import REDIS_IS_BACK
from broker.order_store import OrderStore
from broker.orders.algorithm_card import AlgorithmCard, Announcement
from broker.queue.celery_app import enqueue
from broker.queue.task_report import TaskFailedError

_INTERVAL_S = 3.0
_log = logging.getLogger(__name__)


class Heartbeat:
    """The heartbeat of one worker.

    It is sent from Celery's event loop, so that a worker whose loop is stuck counts as gone.
    """

    def __init__(
        self, store: OrderStore, name: str, queues: list[str], settings: Mapping[str, Any]
    ) -> None:
        """Send nothing yet. `settings`: those that `slidelane doctor` shows of this worker."""
        self._store = store
        self._name = name
        self._queues = queues
        self._settings = settings
        self.machine: Mapping[str, Any] | None = None
        """What is told of this worker's machine from the next beat on."""
        self._described: tuple[AlgorithmCard, ...] = ()
        self._announcement: Announcement | None = None
        self._is_news = True
        self._reported_at = 0.0
        self._is_away = False

    def describe(self, cards: Iterable[AlgorithmCard]) -> None:
        """Make these algorithms orderable at the next beat, without offering to run them.

        So orders may be placed before the first worker that runs them is started.
        """
        self._described = tuple(cards)
        self._is_news = True

    def announce(self, announcement: Announcement) -> None:
        """Report from the next beat on what this worker can run. Any thread may call it."""
        self._announcement = announcement
        self._is_news = True

    def connect_signals(self) -> None:
        """Handle Celery's signals from now on."""
        signals.heartbeat_sent.connect(self.beat, weak=False)
        signals.task_failure.connect(self.child_lost, weak=False)
        signals.worker_shutdown.connect(self.leave, weak=False)

    def beat(self, **_: object) -> None:
        """Report that this worker is alive, and its algorithms when they have changed."""
        if not self._is_news and time.monotonic() - self._reported_at < _INTERVAL_S:
            return
        is_news = self._is_news
        # Before the announcement is read: one that comes in between is sent by the next beat.
        self._is_news = False
        try:
            if is_news:
                self._store.announce(self._described)
                if self._announcement:
                    self._store.announce(self._announcement.cards, self._announcement.texts)
            self._store.present(
                self._name, self._queues, self._announcement, self._settings, self.machine
            )
            now = time.monotonic()
            if not self._reported_at:
                _log.info("%s consumes %s", self._name, ", ".join(self._queues))
            elif now - self._reported_at > 2 * _INTERVAL_S:
                # Celery calls this only while it is connected. If it was not because of Redis, the
                # log has a line about that, and lets the one of the return pass.
                self._is_away = True
            self._reported_at = now
        except TemporaryError as error:
            self._is_news = True
            _log.warning(
                "could not report that this worker is alive: %s",
                error.detail,
                extra={"code": error.code},
            )
            self._is_away = True
            return
        if self._is_away:
            _log.info(REDIS_IS_BACK)
        self._is_away = False

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
            _log.warning(
                "a lost child could not be reported, its lease ends: %s",
                error.detail,
                extra={"code": error.code},
            )

    def leave(self, **_: object) -> None:
        """Give back what the children held, without counting an attempt, and sign off."""
        if not self._reported_at:
            return
        try:
            enqueue(self._store.take_back(self._name, "it was asked to stop", asked_to_stop=True))
            self._store.leave(self._name)
        except TemporaryError as error:
            _log.warning(
                "could not report that this worker leaves: %s",
                error.detail,
                extra={"code": error.code},
            )
