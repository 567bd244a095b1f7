"""Routes that show the algorithms that workers have announced."""

from typing import Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field, computed_field

from broker.errors import OrderError
from broker.order_store.workers import KnownAlgorithm
from broker.orders.algorithm_card import AlgorithmCard
from services.dependencies import Store, may_read
from services.responses.views import ABSENT

router = APIRouter(prefix="/v1/algorithms", tags=["algorithms"], dependencies=[Depends(may_read)])


class AlgorithmView(AlgorithmCard):
    """One algorithm's card as it is shown, and whether it can be ordered."""

    available: bool = Field(description="whether orders for it are accepted")
    reason: str | None = ABSENT
    """Why no worker can run it now; absent where it is available."""

    @computed_field(description="the same as `queue`, by its older name")  # type: ignore[prop-decorator]
    @property
    def lane(self) -> str:
        """The queue, by the name that this field had first."""
        return self.queue


class UnavailableView(BaseModel):
    """An algorithm that never had a card: its settings or its model folder cannot work."""

    name: str
    available: Literal[False] = False
    reason: str = Field(description="why no worker can run it")


class AlgorithmsView(BaseModel):
    """Every algorithm that a worker has in its settings, by name."""

    algorithms: list[AlgorithmView | UnavailableView]


@router.get("")
def list_algorithms(store: Store) -> AlgorithmsView:
    """What can be ordered. Empty until a worker has said what it can do.

    With `available` false: what a worker has in its settings and none can run, with the reason.
    """
    return AlgorithmsView(algorithms=[_view(known) for known in store.algorithms()])


@router.get("/{name}")
def get_algorithm(name: str, store: Store) -> AlgorithmView | UnavailableView:
    """One algorithm's card, with the schema of its parameters."""
    algorithms = {known.name: known for known in store.algorithms()}
    if name not in algorithms:
        raise OrderError(
            "not_found",
            f"there is no algorithm {name[:64]!r}",
            hint=f"there are: {', '.join(algorithms)}",
        )
    return _view(algorithms[name])


def _view(known: KnownAlgorithm) -> AlgorithmView | UnavailableView:
    if known.card is None:
        return UnavailableView(name=known.name, reason=known.reason)
    own = known.card.model_dump() | {"available": not known.reason}
    if known.reason:
        own["reason"] = known.reason
    return AlgorithmView.model_validate(own)
