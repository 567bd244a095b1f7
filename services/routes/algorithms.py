"""Routes that show the algorithms that workers have announced."""

from fastapi import APIRouter, Depends
from pydantic import BaseModel, computed_field

from broker.errors import OrderError
from broker.order_store import OrderStore
from broker.orders.algorithm_card import AlgorithmCard
from services.auth import ApiKeyAuth


class AlgorithmView(AlgorithmCard):
    """One algorithm's card as it is shown."""

    @computed_field(description="the same as `queue`, by its older name")  # type: ignore[prop-decorator]
    @property
    def lane(self) -> str:
        """The queue, by the name that this field had first."""
        return self.queue


class AlgorithmsView(BaseModel):
    """Every algorithm that can be ordered, by name."""

    algorithms: list[AlgorithmView]


def routes(store: OrderStore, auth: ApiKeyAuth) -> APIRouter:
    """Return the routes below `/v1/algorithms`."""
    router = APIRouter(
        prefix="/v1/algorithms", tags=["algorithms"], dependencies=[Depends(auth.read)]
    )

    @router.get("")
    def list_algorithms() -> AlgorithmsView:
        """What can be ordered. Empty until a worker has said what it can do."""
        cards = store.cards()
        return AlgorithmsView(algorithms=[_view(cards[name]) for name in sorted(cards)])

    @router.get("/{name}")
    def get_algorithm(name: str) -> AlgorithmView:
        """One algorithm's card, with the schema of its parameters."""
        cards = store.cards()
        if name not in cards:
            raise OrderError(
                "not_found",
                f"there is no algorithm {name[:64]!r}",
                hint=f"there are: {', '.join(sorted(cards))}",
            )
        return _view(cards[name])

    return router


def _view(card: AlgorithmCard) -> AlgorithmView:
    return AlgorithmView.model_validate(card.model_dump())
