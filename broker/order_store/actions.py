"""What a caller may ask of an order: cancel it, try it again, deliver it again; and forgetting it at last."""

import secrets

from broker.errors import OrderError
from broker.order_store.lifecycle import TaskMessage, messages_of
from broker.order_store.redis_client import StoreBase, reachable
from broker.orders.order import ENDED, OrderState


class Actions(StoreBase):
    """Moves that somebody asked for."""

    def cancel(self, order_id: str) -> None:
        """End the order: at once, or, while a delivery is under way, unless that one arrives.

        Raises `OrderError("not_found")`, and `("state_conflict")` when it has ended otherwise.
        """
        answer = self._door.run("cancel", order_id)
        if answer == "absent":
            raise _not_found(order_id)
        if answer in ENDED - {OrderState.CANCELLED}:
            raise _conflict(order_id, answer, "it has ended and cannot be cancelled")

    def retry(self, order_id: str) -> tuple[TaskMessage, ...]:
        """An order that ended without results once more: the scans that are not classified. Raises `OrderError`."""
        return self._reopen(
            order_id, OrderState.QUEUED, "only a failed, expired or cancelled order is tried again"
        )

    def deliver_again(self, order_id: str) -> tuple[TaskMessage, ...]:
        """The kept results of an undelivered order once more, without classifying again. Raises `OrderError`."""
        return self._reopen(
            order_id,
            OrderState.DELIVERING,
            "only an undelivered order with kept results is delivered again",
        )

    def _reopen(self, order_id: str, to: OrderState, rule: str) -> tuple[TaskMessage, ...]:
        answer = self._door.ask(
            "reopen", order_id, to, int(self._settings.order_life_s * 1000), secrets.token_hex(8)
        )
        if answer.get("refused") == "absent":
            raise _not_found(order_id)
        if "refused" in answer:
            raise _conflict(order_id, answer["refused"], rule)
        return messages_of(answer)

    def forgettable(self, limit: int = 100) -> list[str]:
        """Orders that ended longer than `broker.keep_s` ago, oldest first."""
        with reachable():
            oldest_ms = self._now_ms() - self._settings.keep_s * 1000
            return list(
                self._door.records.zrangebyscore("sl:ended", "-inf", oldest_ms, start=0, num=limit)
            )

    def forget(self, order_id: str) -> None:
        """Remove the record of an order that has ended. Its files are the caller's to remove first."""
        self._door.run("forget", order_id)


def _not_found(order_id: str) -> OrderError:
    return OrderError("not_found", f"there is no order {order_id[:64]!r}")


def _conflict(order_id: str, state: str, rule: str) -> OrderError:
    return OrderError(
        "state_conflict",
        f"order {order_id} is {state}: {rule}",
        hint="GET the order to see what became of it",
    )
