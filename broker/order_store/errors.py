"""Errors of the record of orders that a caller can correct: a class for each error code."""

from collections.abc import Mapping
from typing import Any

from broker.errors import OrderError, TemporaryError
from broker.orders.order import UnreadableOrder

_FULL_RETRY_AFTER_S = 30.0


class OrderNotFoundError(OrderError):
    """There is no order of this id. Code: `not_found`."""

    def __init__(self, order_id: str) -> None:
        super().__init__("not_found", f"there is no order {order_id[:64]!r}")


class KueJobNotFoundError(OrderError):
    """There is no job of Kue with this number. Code: `not_found`; the words are Kue's."""

    def __init__(self, shown: str) -> None:
        super().__init__("not_found", f'job "{shown[:64]}" doesnt exist')


class KeyReusedError(OrderError):
    """Another request was made with this Idempotency-Key. Code: `key_reused`."""

    def __init__(self, order_id: str) -> None:
        hint = f"that order is {order_id}; use a new key"
        super().__init__("key_reused", "this Idempotency-Key stands for another order", hint=hint)
        self.order_id = order_id


class TooManyWaitingError(TemporaryError):
    """No more orders are taken for now. Code: `too_many_waiting`."""

    def __init__(self, answer: Mapping[str, Any], max_waiting: int, creator: str | None) -> None:
        detail = f"{max_waiting} orders wait already"
        hint = "try again later"
        if answer["refused"] == "share":
            detail = f"{answer['queued']} orders of the key {creator!r} wait already"
            hint += ", when some of them run; max_waiting of the key is the limit"
        elif answer["refused"] == "memory":
            detail = f"Redis' memory is {answer['percent']} % full; "
            detail += "the rest is for orders that are kept already"
            hint += "; the operator can raise Redis' maxmemory or lower broker.keep_s"
        super().__init__("too_many_waiting", detail, hint=hint, retry_after_s=_FULL_RETRY_AFTER_S)


class UnreadableOrderError(OrderError):
    """The order is there and cannot be read.

    Code: `record_unreadable` or `sealed_with_another_key`.
    """

    def __init__(self, order: UnreadableOrder) -> None:
        problem = order.problem
        super().__init__(problem.code, problem.detail, hint=problem.hint)
        self.order = order


class StateConflictError(OrderError):
    """The order's state does not allow what was requested. Code: `state_conflict`."""

    def __init__(self, order_id: str, state: str, rule: str) -> None:
        super().__init__(
            "state_conflict",
            f"order {order_id} is {state}: {rule}",
            hint="GET the order to see what became of it",
        )
