"""What a caller may do with an order: cancel it, try it again, deliver it again, delete it."""

import secrets

from broker.order_store.errors import OrderNotFoundError, StateConflictError
from broker.order_store.keys import Key
from broker.order_store.lifecycle import TaskMessage, messages_of
from broker.order_store.redis_client import StoreBase, reachable
from broker.orders.order import ENDED, OrderState

_RETRY_RULE = "only a failed, expired or cancelled order is tried again"
_DELIVER_RULE = "only an undelivered order with kept results is delivered again"


class Actions(StoreBase):
    """Changes of an order at a caller's request."""

    def cancel(self, order_id: str) -> None:
        """End the order at once, or, while it is being delivered, unless the delivery arrives.

        Raise `OrderNotFoundError`, and `StateConflictError` when it has ended otherwise.
        """
        state = self._client.run("cancel", order_id)
        if state == "absent":
            raise OrderNotFoundError(order_id)
        if state in ENDED - {OrderState.CANCELLED}:
            raise StateConflictError(order_id, state, "it has ended and cannot be cancelled")

    def retry(self, order_id: str) -> tuple[TaskMessage, ...]:
        """Do the scans again that are not classified, of an order that ended without results.

        Return the messages to enqueue. Raise `OrderNotFoundError` or `StateConflictError`.
        """
        return self._reopen(order_id, OrderState.QUEUED, _RETRY_RULE)

    def deliver_again(self, order_id: str) -> tuple[TaskMessage, ...]:
        """Deliver the stored results of an undelivered order again, without classifying again.

        Return the messages to enqueue. Raise `OrderNotFoundError` or `StateConflictError`.
        """
        return self._reopen(order_id, OrderState.DELIVERING, _DELIVER_RULE)

    def _reopen(self, order_id: str, to: OrderState, rule: str) -> tuple[TaskMessage, ...]:
        life_ms = int(self._settings.order_life_s * 1000)
        answer = self._client.run_json("reopen", order_id, to, life_ms, secrets.token_hex(8))
        if answer.get("refused") == "absent":
            raise OrderNotFoundError(order_id)
        if "refused" in answer:
            raise StateConflictError(order_id, answer["refused"], rule)
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
        self._client.run("delete", order_id)
