"""What a worker's parent process tells the record: that it consumes, that a child of it died, that it leaves."""

import logging
import time
from collections.abc import Iterable

from celery import signals

from broker.errors import TemporaryError
from broker.order_store import OrderStore
from broker.orders.algorithm_card import AlgorithmCard
from broker.queue.celery_app import enqueue

_SAY_EVERY_S = 5.0
_log = logging.getLogger(__name__)


class Heartbeat:
    """One worker, as its parent process sees it. Speaks from Celery's event loop: a stuck one falls silent."""

    def __init__(
        self, store: OrderStore, name: str, queues: list[str], cards: Iterable[AlgorithmCard]
    ) -> None:
        self._store, self._name, self._queues, self._cards = store, name, queues, tuple(cards)
        self._said_at = 0.0

    def listen(self) -> None:
        """Hear Celery's signals from now on."""
        signals.heartbeat_sent.connect(self.beat, weak=False)
        signals.task_failure.connect(self.child_lost, weak=False)
        signals.worker_shutdown.connect(self.leave, weak=False)

    def beat(self, **_: object) -> None:
        """Heard by the desk while it comes often enough; the first one announces the algorithms."""
        if self._said_at and time.monotonic() - self._said_at < _SAY_EVERY_S:
            return
        try:
            if not self._said_at:
                self._store.announce(self._cards)
            self._store.present(self._name, self._queues)
            self._said_at = time.monotonic()
        except TemporaryError as error:
            _log.warning("could not say that this worker is here: %s", error.detail)

    def child_lost(
        self, exception: BaseException, args: list[str] | None = None, **_: object
    ) -> None:
        """A child died under its task: nobody has to wait for the lease, and what was seen is written down."""
        try:
            for work in args or ():
                enqueue(
                    self._store.take_back(self._name, " ".join(str(exception).split()), work=work)
                )
        except TemporaryError as error:
            _log.warning("a lost child could not be told, its lease will: %s", error.detail)

    def leave(self, **_: object) -> None:
        """All children are gone: what they held goes back at once, and counts for nothing."""
        try:
            enqueue(self._store.take_back(self._name, "it was asked to stop", asked_to_stop=True))
            self._store.leave(self._name)
        except TemporaryError as error:
            _log.warning("could not say goodbye: %s", error.detail)
