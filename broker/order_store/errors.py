"""Errors of the record of orders that a caller can correct: a class for each error code."""

from broker.errors import OrderError


class OrderNotFoundError(OrderError):
    """There is no order of this id. Code: `not_found`."""

    def __init__(self, order_id: str) -> None:
        super().__init__("not_found", f"there is no order {order_id[:64]!r}")


class StateConflictError(OrderError):
    """The order's state does not allow what was requested. Code: `state_conflict`."""

    def __init__(self, order_id: str, state: str, rule: str) -> None:
        super().__init__(
            "state_conflict",
            f"order {order_id} is {state}: {rule}",
            hint="GET the order to see what became of it",
        )
