"""Routes that show the queues: what waits, for how long, and what runs.

The numbers come from the order store, so that they do not depend on a worker that listens.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel

from broker.order_store import OrderStore, QueueView
from services.auth import Gate

QueueName = Annotated[
    str,
    Path(
        pattern=r"^[a-z][a-z0-9-]{0,31}$",
        description="a queue for classifying, `fetch` or `deliver`",
    ),
]


class QueuesView(BaseModel):
    """Every queue that work has waited on, by name."""

    queues: list[QueueView]


class DemandView(BaseModel):
    """How much work one queue has, over all its priorities."""

    name: str
    waiting: int
    running: int
    unfinished: int
    """Both together: whoever counts the waiting alone stops the workers that took it."""

    @classmethod
    def of(cls, name: str, queues: list[QueueView]) -> "DemandView":
        """Return the sum over its priorities, and 0 where nothing ever waited.

        An autoscaler asks before there is any order.
        """
        own = [queue for queue in queues if queue.name.partition(".")[0] == name]
        waiting = sum(queue.waiting for queue in own)
        running = sum(queue.running for queue in own)
        return cls(name=name, waiting=waiting, running=running, unfinished=waiting + running)


def routes(store: OrderStore, gate: Gate) -> APIRouter:
    """Return the routes below `/v1/queues`."""
    router = APIRouter(prefix="/v1/queues", tags=["queues"], dependencies=[Depends(gate.read)])

    @router.get("")
    def list_queues() -> QueuesView:
        """The queues: how much waits, how long the oldest has, how much runs.

        Also how many workers listen to each.
        """
        return QueuesView(queues=store.queues())

    @router.get("/{name}")
    def get_queue(name: QueueName) -> DemandView:
        """What one queue and its priorities have to do, as one number for an autoscaler."""
        return DemandView.of(name, store.queues())

    return router
