"""The names of queues and workers.

Imports no Celery, so that the API and the command line can use it.
"""

import os
from typing import Final

from broker.orders.fields import PRIORITIES, Priority
from broker.orders.order import Stage

COURIER_QUEUES: Final = ("fetch", "deliver")
"""The queues of the courier. Every other queue is one on which scans wait to be classified."""


def queue_names(base: str) -> list[str]:
    """Return the queues behind one name, most urgent first; `normal` has the plain name."""
    return [queue_name(base, priority) for priority in reversed(PRIORITIES)]


def queue_name(base: str, priority: Priority) -> str:
    """Return the queue of one priority."""
    if priority == "normal":
        return base
    return f"{base}.{priority}"


def worker_name(role: str, pid: int) -> str:
    """Return the name of the worker in the process `pid` of this machine: `ROLE-PID@HOST`."""
    return f"{role}-{pid}@{os.uname().nodename}"


def is_on_this_machine(name: str, role: str) -> bool:
    """Return whether `worker_name` returned this name, on this machine, for this role."""
    return name.startswith(f"{role}-") and name.endswith(f"@{os.uname().nodename}")


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
