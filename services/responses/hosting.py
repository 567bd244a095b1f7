"""Images, runnable containers and classes as they are shown: over all machines that have them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from broker.order_store import WorkerView
from broker.order_store.announced.workers import KnownAlgorithm
from broker.orders.hosting import (
    ContainerCard,
    HostingMachine,
    ImageCard,
    ImageStatus,
    MachineClassCard,
)
from broker.queue.names import base_of
from services.responses.views import ABSENT, rfc3339

_PRESENT_S = 150.0
"""A machine announces once a minute; one that is silent for longer does not count for a status."""


class ImageOnMachineView(BaseModel):
    """One image on one machine."""

    machine: str
    status: ImageStatus
    failure: Annotated[str | None, ABSENT] = None
    digest: str | None
    engine: str | None
    seen_s_ago: float = Field(description="seconds since a worker of the machine said so")


class ImageView(BaseModel):
    """One image definition, over all machines that have it."""

    name: str
    image: str = Field(description="as its engine names it")
    status: ImageStatus = Field(
        description="`uploaded` where one machine has it, else `failed` where one could not get "
        "it, else `created`"
    )
    failure: Annotated[str | None, ABSENT] = None
    digest: str | None
    created_by: str = Field(description="who added it; `config.json` where only an algorithm did")
    created_at: str | None
    updated_at: str | None
    containers: list[str] = Field(description="the algorithms that run it")
    machines: list[ImageOnMachineView]


class ImagesView(BaseModel):
    """The image definitions, by name."""

    images: list[ImageView]


class ContainerView(BaseModel):
    """One program that can be ordered; `name` is the algorithm."""

    name: str
    kind: Literal["command", "container"]
    image: str | None
    machine_class: str | None = Field(serialization_alias="class")
    queue: str
    time_limit_s: float
    variables: list[str] = Field(description="names of the variables of the site; no values")
    available: bool = Field(description="whether orders for it are accepted")
    reason: Annotated[str | None, ABSENT] = None
    links: dict[str, str]


class ContainersView(BaseModel):
    """The programs that can be ordered, by name."""

    containers: list[ContainerView]


class ClassView(BaseModel):
    """One class of machines; null = all that the worker has."""

    name: str
    queue: str
    cpus: float | None
    memory_bytes: int | None
    gpus: int
    workers: int = Field(description="workers that wait on its queue now")
    containers: list[str] = Field(description="the algorithms of this class")


class ClassesView(BaseModel):
    """The classes of machines, by name."""

    classes: list[ClassView]


def images_view(machines: Sequence[HostingMachine]) -> ImagesView:
    """Return every image; what two machines name alike is one."""
    found: dict[str, list[tuple[HostingMachine, ImageCard]]] = {}
    for machine in machines:
        for card in machine.programs.images:
            found.setdefault(card.image, []).append((machine, card))
    users = list(_latest_containers(machines))
    images = [_image(known, users) for known in found.values()]
    return ImagesView(images=sorted(images, key=lambda view: (view.name, view.image)))


def _image(
    known: Sequence[tuple[HostingMachine, ImageCard]], users: Iterable[ContainerCard]
) -> ImageView:
    counted = [card for machine, card in known if machine.seen_s_ago < _PRESENT_S]
    best = _best(counted or [card for _, card in known])
    first = _definition([card for _, card in known])
    return ImageView(
        name=first.name,
        image=first.image,
        status=best.status,
        failure=best.failure or None,
        digest=best.digest or None,
        created_by=first.created_by,
        created_at=_time(first.created_at),
        updated_at=_time(first.updated_at),
        containers=sorted(user.name for user in users if user.image == best.image),
        machines=[_on_machine(machine, card) for machine, card in known],
    )


def _best(cards: Sequence[ImageCard]) -> ImageCard:
    rank: dict[ImageStatus, int] = {"uploaded": 0, "failed": 1, "created": 2}
    return min(cards, key=lambda card: rank[card.status])


def _definition(cards: Sequence[ImageCard]) -> ImageCard:
    """Return the definition that somebody made first; else one of the settings."""
    made = [card for card in cards if card.created_at is not None]
    if not made:
        return cards[0]
    return min(made, key=lambda card: card.created_at or 0.0)


def _on_machine(machine: HostingMachine, card: ImageCard) -> ImageOnMachineView:
    return ImageOnMachineView(
        machine=machine.name,
        status=card.status,
        failure=card.failure or None,
        digest=card.digest or None,
        engine=card.engine or None,
        seen_s_ago=round(machine.seen_s_ago, 1),
    )


def containers_view(
    machines: Sequence[HostingMachine], algorithms: Iterable[KnownAlgorithm]
) -> ContainersView:
    """Return every program, as the machine that announced last states it."""
    known = {one.name: one for one in algorithms}
    containers = [_container(card, known.get(card.name)) for card in _latest_containers(machines)]
    return ContainersView(containers=sorted(containers, key=lambda view: view.name))


def _container(card: ContainerCard, known: KnownAlgorithm | None) -> ContainerView:
    reason = "no worker has said yet whether it can run it"
    if known is not None and (known.card is not None or known.reason):
        reason = known.reason
    return ContainerView(
        name=card.name,
        kind=card.kind,
        image=card.image or None,
        machine_class=card.class_name or None,
        queue=card.queue,
        time_limit_s=card.time_limit_s,
        variables=list(card.variables),
        available=not reason,
        reason=reason or None,
        links={
            "algorithm": f"/v1/algorithms/{card.name}",
            "jobs": f"/v1/jobs?algorithm={card.name}",
        },
    )


def classes_view(machines: Sequence[HostingMachine], workers: Sequence[WorkerView]) -> ClassesView:
    """Return every class, as the machine that announced last states it."""
    cards: dict[str, MachineClassCard] = {}
    for machine in machines:
        for card in machine.programs.classes:
            cards.setdefault(card.name, card)
    users = list(_latest_containers(machines))
    classes = [
        ClassView(
            **cards[name].model_dump(),
            workers=sum(_waits_on(worker, cards[name].queue) for worker in workers),
            containers=sorted(user.name for user in users if user.class_name == name),
        )
        for name in sorted(cards)
    ]
    return ClassesView(classes=classes)


def _waits_on(worker: WorkerView, queue: str) -> bool:
    return any(base_of(name) == queue for name in worker.queues)


def _latest_containers(machines: Iterable[HostingMachine]) -> Iterator[ContainerCard]:
    """Yield each program once. `machines`: the one that announced last comes first."""
    seen: set[str] = set()
    for machine in machines:
        for card in machine.programs.containers:
            if card.name not in seen:
                seen.add(card.name)
                yield card


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return rfc3339(seconds)
