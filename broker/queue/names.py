"""The names of the queues. Imports no Celery, so that the API and the command line can use it."""

from typing import Final

from broker.orders.order import Stage

COURIER_QUEUES: Final = ("fetch", "deliver")
"""The queues of the courier. Every other queue is one on which scans wait to be classified."""

PRIORITIES: Final = ("urgent", "high", "normal", "low")


def queue_names(base: str) -> list[str]:
    """Return the queues behind one name, most urgent first; `normal` has the plain name."""
    names = []
    for priority in PRIORITIES:
        if priority == "normal":
            names.append(base)
        else:
            names.append(f"{base}.{priority}")
    return names


def base_of(queue: str) -> str:
    """Return the name of a queue without its priority."""
    return queue.partition(".")[0]


def stage_of(queue: str) -> Stage:
    """Return the stage whose work waits on this queue."""
    base = base_of(queue)
    if base == "fetch":
        return "fetch"
    if base == "deliver":
        return "deliver"
    return "classify"
