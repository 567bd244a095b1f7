"""What a caller may do with an order: cancel it, try it again, deliver it again, delete it."""

import json
import logging
import secrets

from broker.order_store.errors import OrderNotFoundError, StateConflictError
from broker.order_store.keys import Key
from broker.order_store.lifecycle import TaskMessage, messages_of
from broker.order_store.redis_client import StoreBase, reachable
from broker.orders.order import ENDED, OrderState
from broker.orders.request import Destination

_RETRY_RULE = "only a failed, expired or cancelled order is tried again"
_DELIVER_RULE = "only an undelivered order with kept results is delivered again"
_DELIVERED_RULE = (
    "the credentials of its destination are gone, so it is delivered again to a new one only; "
    'send {"destination": …}'
)
_DELETE_RULE = "only an order that has ended is deleted; cancel it first"
_log = logging.getLogger(__name__)


class Actions(StoreBase):
    """Changes of an order at a caller's request."""

    def cancel(self, order_id: str, actor: str = "") -> None:
        """End the order at once, or, while it is being delivered, unless the delivery arrives.

        `actor`: who asks for it, for the order's log. Raise `OrderNotFoundError`, and
        `StateConflictError` when it has ended otherwise.
        """
        state = self._client.run("cancel", order_id, actor)
        if state == "absent":
            raise OrderNotFoundError(order_id)
        if state in ENDED - {OrderState.CANCELLED}:
            raise StateConflictError(order_id, state, "it has ended and cannot be cancelled")

    def retry(self, order_id: str, actor: str = "") -> tuple[TaskMessage, ...]:
        """Do the scans again that are not classified, of an order that ended without results.

        `actor`: who asks for it. Return the messages to enqueue. Raise `OrderNotFoundError` or
        `StateConflictError`.
        """
        return self._reopen(order_id, OrderState.QUEUED, actor, _RETRY_RULE)

    def deliver_again(
        self, order_id: str, actor: str = "", destination: Destination | None = None
    ) -> tuple[TaskMessage, ...]:
        """Deliver the stored results again, without classifying again.

        `actor`: who asks for it. A new destination replaces the old one; a delivered order needs
        one, because the credentials of the old one are gone. Return the messages to enqueue. Raise
        `OrderNotFoundError` or `StateConflictError`.
        """
        fields = ""
        if destination:
            fields = json.dumps(self._encryption.destination_fields(destination))
        return self._reopen(order_id, OrderState.DELIVERING, actor, _DELIVER_RULE, fields)

    def _reopen(
        self, order_id: str, to: OrderState, actor: str, rule: str, fields: str = ""
    ) -> tuple[TaskMessage, ...]:
        life_ms = int(self._settings.order_life_s * 1000)
        token = secrets.token_hex(8)
        answer = self._client.run_json("reopen", order_id, to, life_ms, token, actor, fields)
        if answer.get("refused") == "absent":
            raise OrderNotFoundError(order_id)
        if "refused" in answer:
            state = answer["refused"]
            if to == OrderState.DELIVERING and state == OrderState.DELIVERED:
                rule = _DELIVERED_RULE
            raise StateConflictError(order_id, state, rule)
        return messages_of(answer)

    def deletable(self, limit: int = 100) -> list[str]:
        """Return the ids of orders that ended longer than `broker.keep_s` ago, oldest first."""
        with reachable():
            latest_ms = self._now_ms() - self._settings.keep_s * 1000
            ids = self._client.records.zrangebyscore(
                Key.ENDED, "-inf", latest_ms, start=0, num=limit
            )
        return list(ids)

    def delete(self, order_id: str) -> None:
        """Delete the record of an order that has ended. The caller deletes its files first."""
        self._client.run("delete", order_id, "")

    def delete_with_files(self, order_id: str, actor: str = "") -> None:
        """Delete the record of an order that has ended, and leave its files for the cleanup.

        `actor`: who asks for it, for the log of the service. Raise `OrderNotFoundError` or
        `StateConflictError`.
        """
        answer = self._client.run("delete", order_id, "1")
        if answer == "absent":
            raise OrderNotFoundError(order_id)
        if answer != "deleted":
            raise StateConflictError(order_id, answer, _DELETE_RULE)
        _log.info("deleted, as asked for by %s", actor or "a caller", extra={"work": order_id})

    def deleted(self) -> list[str]:
        """Return the ids of deleted orders whose files may be left, oldest first."""
        with reachable():
            ids = self._client.records.zrange(Key.DELETED, 0, -1)
        return list(ids)

    def forget_deleted(self, older_than_s: float) -> None:
        """Forget the orders that were deleted longer ago: nothing of them can be written now."""
        with reachable():
            latest_ms = self._now_ms() - older_than_s * 1000
            self._client.records.zremrangebyscore(Key.DELETED, "-inf", latest_ms)
