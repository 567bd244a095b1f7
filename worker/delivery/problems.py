"""The problems with which a delivery ends."""

from broker.errors import Problem
from broker.orders.order import Attempt
from worker.delivery.payload import Receipt


def refused(receipt: Receipt) -> Problem:
    """Return the problem of an order whose results the destination will not take."""
    return Problem(
        "destination_refused",
        receipt.detail or f"answered {receipt.status}",
        "the results are kept; GET the order's payload to see what was sent",
        blame="destination",
    )


def cancelled() -> Problem:
    """Return the problem of an order that was cancelled while it was being delivered."""
    detail = "cancelled; the destination says that nothing arrived"
    return Problem("cancelled", detail, blame="input")


def delivery_unknown(last: Attempt) -> Problem:
    """Return the problem of an order whose last attempt may have arrived, where nobody can say."""
    said = last.error or "no answer came"
    return Problem(
        "delivery_unknown",
        f"the results were sent ({said}), and this destination cannot be asked for them",
        "look there; worker.deliver.on_unknown = repeat would send again and risk a double",
        blame="destination",
    )


def answer_untrue(last: Attempt, attempts: int) -> Problem:
    """Return the problem of an order that its destination confirmed, without having the results."""
    return Problem(
        "destination_answer_untrue",
        f"{last.error}; when it was asked, the destination did not have them, "
        f"after each of {attempts} attempts",
        "look what answers at its address, often a proxy or a login page; then deliver again",
        blame="destination",
    )
