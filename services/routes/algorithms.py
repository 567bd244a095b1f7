"""Routes that show the algorithms that workers have announced."""

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from broker.errors import OrderError
from broker.order_store import OrderStore
from broker.orders.algorithm_card import AlgorithmCard
from services.auth import Gate


class AlgorithmsView(BaseModel):
    """Every algorithm that can be ordered, by name."""

    algorithms: list[AlgorithmCard]


def routes(store: OrderStore, gate: Gate) -> APIRouter:
    """Return the routes below `/v1/algorithms`."""
    router = APIRouter(
        prefix="/v1/algorithms", tags=["algorithms"], dependencies=[Depends(gate.read)]
    )

    @router.get("")
    def list_algorithms() -> AlgorithmsView:
        """What can be ordered. Empty until a worker has said what it can do."""
        cards = store.cards()
        return AlgorithmsView(algorithms=[cards[name] for name in sorted(cards)])

    @router.get("/{name}")
    def get_algorithm(name: str) -> AlgorithmCard:
        """One algorithm's card, with the schema of its parameters."""
        cards = store.cards()
        if name not in cards:
            raise OrderError(
                "not_found",
                f"there is no algorithm {name[:64]!r}",
                hint=f"there are: {', '.join(sorted(cards))}",
            )
        return cards[name]

    return router
