"""Routes that show the queues: what waits, for how long, and what runs.

The numbers come from the order store, so that they do not depend on a worker that listens.
"""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, computed_field

from broker.order_store import OrderStore, QueueView
from broker.orders.order import Stage
from broker.queue.names import COURIER_QUEUES, base_of, stage_of
from services.dependencies import Store, may_read

router = APIRouter(prefix="/v1/queues", tags=["queues"], dependencies=[Depends(may_read)])
QueueName = Annotated[
    str,
    Path(
        pattern=r"^[a-z][a-z0-9-]{0,31}$",
        description="a queue for classifying, `fetch` or `deliver`",
    ),
]


class WaitingQueueView(BaseModel):
    """What waits on one queue, for how long, and how much of it runs."""

    name: str
    stage: Stage
    waiting: int
    running: int
    oldest_wait_s: float
    workers: int

    @computed_field(description="the same as `stage`, by its older name")  # type: ignore[prop-decorator]
    @property
    def leg(self) -> Stage:
        """The stage, by the name that this field had first."""
        return self.stage

    @classmethod
    def of(cls, queue: QueueView) -> "WaitingQueueView":
        """Return the queue as it is shown."""
        return cls(stage=stage_of(queue.name), **asdict(queue))


class QueuesView(BaseModel):
    """The couriers' queues, those of all algorithms, and every queue that work waited on."""

    queues: list[WaitingQueueView]


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
        own = [queue for queue in queues if base_of(queue.name) == name]
        waiting = sum(queue.waiting for queue in own)
        running = sum(queue.running for queue in own)
        return cls(name=name, waiting=waiting, running=running, unfinished=waiting + running)


def all_queues(store: OrderStore) -> list[QueueView]:
    """Return all queues by name, also those on which nothing has waited yet."""
    algorithm_queues = {card.queue for card in store.cards().values()}
    return store.queues(also={*COURIER_QUEUES, *algorithm_queues})


@router.get("")
def list_queues(store: Store) -> QueuesView:
    """The queues: how much waits, how long the oldest has, how much runs.

    Also how many workers listen to each. The queues of couriers and of all algorithms are
    there before the first order.
    """
    return QueuesView(queues=[WaitingQueueView.of(queue) for queue in all_queues(store)])


@router.get("/{name}")
def get_queue(name: QueueName, store: Store) -> DemandView:
    """What one queue and its priorities have to do, as one number for an autoscaler."""
    return DemandView.of(name, store.queues())
