"""What waits, and for how long: the queues as the record knows them."""

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from broker.store import OrderStore, QueueView
from services.auth import Gate


class QueuesView(BaseModel):
    """Every queue that work has waited on, by name."""

    queues: list[QueueView]


def routes(store: OrderStore, gate: Gate) -> APIRouter:
    """`/v1/queues`."""
    router = APIRouter(prefix="/v1/queues", tags=["queues"], dependencies=[Depends(gate.read)])

    @router.get("")
    def list_queues() -> QueuesView:
        """The queues: how much waits, how long the oldest has, and how many workers listen."""
        return QueuesView(queues=store.queues())

    return router
