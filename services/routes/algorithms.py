"""Routes that show the algorithms that workers have announced."""

from typing import Literal

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from pydantic import BaseModel, Field, computed_field

from broker.errors import OrderError
from broker.order_store.announced.workers import KnownAlgorithm
from broker.orders.algorithm_card import AlgorithmCard
from services.dependencies import Store, may_read
from services.responses.views import ABSENT

router = APIRouter(prefix="/v1/algorithms", tags=["algorithms"], dependencies=[Depends(may_read)])


class AlgorithmView(AlgorithmCard):
    """One algorithm's card as it is shown, and whether it can be ordered."""

    available: bool = Field(description="whether orders for it are accepted")
    reason: str | None = ABSENT
    """Why no worker can run it now; absent where it is available."""
    links: dict[str, str] = Field(
        description="itself, and what its authors wrote about it: README and license, by file name"
    )

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


@router.get("/{name}/{file}", response_class=Response)
def get_algorithm_text(name: str, file: str, store: Store) -> Response:
    """The README or the license in the model folder of an algorithm, as plain text.

    `links` of the algorithm names what there is. It is what its authors wrote, 64 KiB at most.
    """
    text = store.text(name, file)
    if text is None:
        raise OrderError(
            "not_found",
            f"the algorithm {name[:64]!r} has no text {file[:64]!r}",
            hint="`links` of GET /v1/algorithms/NAME names those that there are",
        )
    return Response(text, media_type="text/plain; charset=utf-8")


def _view(known: KnownAlgorithm) -> AlgorithmView | UnavailableView:
    if known.card is None:
        return UnavailableView(name=known.name, reason=known.reason)
    path = f"{router.prefix}/{known.name}"
    links = {"self": path} | {file: f"{path}/{file}" for file in known.texts}
    own = known.card.model_dump() | {"available": not known.reason, "links": links}
    if known.reason:
        own["reason"] = known.reason
    return AlgorithmView.model_validate(own)
