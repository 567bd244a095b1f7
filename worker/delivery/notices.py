"""Tell webhooks how orders ended, where an order or the settings ask for it.

Every courier does so beside its work. A notice is called with the same id until it is answered with
a 2xx, so a receiver gets each event at least once and recognises a repetition.
"""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Final

import requests

from broker.errors import TemporaryError
from broker.order_store import Notice, OrderStore
from broker.orders.destinations import WebhookDestination
from broker.orders.order import Order, UnreadableOrder
from broker.settings.config import DeliverySettings
from worker.delivery.circuit_breaker import CircuitBreakers
from worker.delivery.destinations.webhook import events
from worker.delivery.destinations.webhook.client import Webhook
from worker.delivery.payload import Payload, Receipt

_PAUSE_S: Final = 1.0
_LONGEST_S: Final = 3 * 86400
"""A webhook that has not said yes for so long is not told of this end any more."""
_log = logging.getLogger(__name__)


class Notifier:
    """Calls the webhooks whose notices are due."""

    def __init__(
        self,
        store: OrderStore,
        session: requests.Session,
        breakers: CircuitBreakers,
        settings: DeliverySettings,
    ) -> None:
        self._store = store
        self._session = session
        self._breakers = breakers
        self._settings = settings

    def call_next(self) -> bool:
        """Make one call that is due; return whether there was one.

        Raise `TemporaryError` if Redis does not answer: the notice is taken again after its lease.
        """
        notice = self._store.take_notice()
        if notice is None:
            return False
        (order,) = self._store.get_many([notice.order_id])
        if isinstance(order, UnreadableOrder):
            self._wait_for_record(notice, order)
        elif order is None or order.request.notified is None:
            # it was deleted, or its webhook was its destination and is there no longer
            self._store.end_notice(notice)
        else:
            told, _ = order.request.notified
            self._record(notice, order, self._call(notice, order, told))
        return True

    def _wait_for_record(self, notice: Notice, order: UnreadableOrder) -> None:
        """Postpone a notice whose order cannot be read now: a key may be missing for a while."""
        if self._store.now_s() - (order.updated_at or 0) > _LONGEST_S:
            self._store.end_notice(notice)
        else:
            self._store.postpone_notice(notice, self._settings.max_retry_s)

    def _call(self, notice: Notice, order: Order, told: WebhookDestination) -> Receipt:
        labels = order.request.labels
        webhook = Webhook(order.id, labels, told, self._session, self._settings, self._store)
        with TemporaryDirectory() as folder:
            path = Path(folder) / "body"
            path.write_bytes(events.of_end(order, notice.event))
            try:
                with self._breakers.acquire(webhook.host):
                    receipt = webhook.call(notice.event, Payload("application/json", path))
            except TemporaryError as error:
                if error.code == "store_unreachable":
                    raise
                return Receipt("later", detail=error.detail, retry_after_s=error.retry_after_s)
        self._breakers.record(webhook.host, receipt)
        return receipt

    def _record(self, notice: Notice, order: Order, receipt: Receipt) -> None:
        said = receipt.detail or f"answered {receipt.status}"
        if receipt.outcome == "accepted":
            self._store.end_notice(notice, f"the webhook was told {notice.event}")
            return
        age_s = max(0.0, self._store.now_s() - order.updated_at)
        if receipt.outcome == "refused" or age_s > _LONGEST_S:
            line = f"the webhook is not told {notice.event}: {said}"
            self._store.end_notice(notice, line)
            _log.warning("%s", line, extra={"work": order.id, "code": "destination_refused"})
            return
        delay_s = min(max(age_s, self._settings.first_retry_s), self._settings.max_retry_s)
        if receipt.retry_after_s is not None:
            delay_s = receipt.retry_after_s
        line = f"the webhook is told {notice.event} again in {delay_s:.0f} s: {said}"
        self._store.postpone_notice(notice, delay_s, line)


def run_notifier(notifier: Notifier, stopped: Event) -> None:
    """Make the calls that are due until `stopped` is set; go on after an outage of Redis."""
    while not stopped.wait(_PAUSE_S):
        try:
            while not stopped.is_set() and notifier.call_next():
                pass
        except TemporaryError as error:
            _log.warning("webhooks wait: %s", error.detail, extra={"code": error.code})
