"""Delivers the results of one scan to Techcyte once, without a record of what was sent.

The results are recognised at Techcyte by the id that they carry, which is the same whenever the
same task is run. So it is asked before the first post, and after each whose answer was lost.
"""

import time
from dataclasses import dataclass
from typing import Final

from broker.errors import OrderError, TemporaryError
from broker.settings.config import DeliverySettings
from worker.backoff import backoff_s
from worker.commands.events import EventWriter
from worker.delivery.destinations.techcyte.client import Techcyte
from worker.delivery.payload import Payload, Receipt

_MOST_QUESTION_PAUSE_S: Final = 60.0
_ASKED_AT_LEAST: Final = 4


@dataclass(frozen=True, slots=True)
class HostedDelivery:
    """One task of Techcyte, and how long a post may be tried."""

    destination: Techcyte
    settings: DeliverySettings
    limit_s: float
    events: EventWriter

    def deliver(self, payload: Payload, order_id: str) -> str:
        """Post the results unless Techcyte has them; return how they arrived, in words.

        Raise `OrderError`: `destination_refused`, `destination_unreachable` after `limit_s`, or
        `delivery_unknown` where Techcyte cannot be asked.
        """
        if self._ask(order_id):
            return "the task has these results already; nothing was posted"
        give_up_at = time.monotonic() + self.limit_s
        number = 0
        while True:
            receipt = self.destination.post(payload)
            self.events.line(f"post {number + 1}: {_said(receipt)}")
            if receipt.outcome == "accepted":
                return f"posted, answered {receipt.status}"
            if receipt.outcome == "refused":
                raise OrderError("destination_refused", receipt.detail or _said(receipt))
            if receipt.outcome == "unknown" and self._arrived(order_id, receipt):
                return "posted; Techcyte was asked and has the results"
            pause_s = self._pause_s(number, receipt)
            number += 1
            if time.monotonic() + pause_s > give_up_at:
                raise OrderError("destination_unreachable", receipt.detail or _said(receipt))
            time.sleep(pause_s)

    def _arrived(self, order_id: str, receipt: Receipt) -> bool:
        """Return whether results whose answer was lost arrived; a no counts after a while only.

        Raise `OrderError("delivery_unknown")` where nobody can say.
        """
        began_at = time.monotonic()
        patience_s = self.settings.unknown_patience_s
        while True:
            has_arrived = self._ask(order_id)
            waited_s = time.monotonic() - began_at
            if has_arrived:
                return True
            if waited_s >= patience_s:
                break
            pause_s = max(waited_s, self.settings.first_retry_s)
            longest_s = min(_MOST_QUESTION_PAUSE_S, patience_s / _ASKED_AT_LEAST)
            time.sleep(min(pause_s, longest_s, patience_s - waited_s))
        if has_arrived is None and self.settings.on_unknown == "stop":
            raise OrderError(
                "delivery_unknown",
                f"the results were sent ({_said(receipt)}), and Techcyte does not say whether it "
                "has them",
                hint="look there before the task is started again",
            )
        return False

    def _ask(self, order_id: str) -> bool | None:
        """Return whether Techcyte has the results, None where it does not say now."""
        try:
            return self.destination.has_received(order_id)
        except TemporaryError as error:
            self.events.line(f"asked whether the task has these results: {error.detail}")
            return None

    def _pause_s(self, number: int, receipt: Receipt) -> float:
        if receipt.retry_after_s is not None:
            return receipt.retry_after_s
        return backoff_s(self.settings.first_retry_s, self.settings.max_retry_s, number)


def _said(receipt: Receipt) -> str:
    """Return an outcome in words."""
    words: str = receipt.outcome
    if receipt.status is not None:
        words += f" ({receipt.status})"
    if receipt.detail:
        words += f": {receipt.detail}"
    return words
