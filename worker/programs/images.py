"""The images of this machine: which are defined or named, and what an engine has of them."""

from broker.errors import OrderError
from broker.orders.hosting import FROM_CONFIG, ImageCard
from broker.settings.config import WorkerSettings
from worker.programs.engines.engine import chosen_engine
from worker.programs.image_definitions import ImageDefinition


def images_of(
    settings: WorkerSettings, definitions: tuple[ImageDefinition, ...]
) -> tuple[ImageCard, ...]:
    """Return every image that is defined or that an algorithm names, and whether it is here."""
    cards = [card_of(definition) for definition in definitions]
    known = {definition.image for definition in definitions}
    for entry in settings.algorithms.values():
        if entry.kind == "container" and entry.image and entry.image not in known:
            known.add(entry.image)
            cards.append(_looked_for(entry.image, entry.engine or ""))
    return tuple(cards)


def short_name(image: str) -> str:
    """Return the name of an image that nobody gave one: the last part, without tag and digest."""
    last = image.partition("@")[0].rpartition("/")[2]
    return last.partition(":")[0].removesuffix(".sif")[:100] or image[:100]


def card_of(definition: ImageDefinition) -> ImageCard:
    """Return the image of a definition as its engine knows it now."""
    found = _looked_for(definition.image, definition.engine)
    failure = found.failure or definition.failure
    status = found.status
    if status == "uploaded":
        failure = ""
    elif definition.failure:
        status = "failed"
    return found.model_copy(
        update={
            "name": definition.name,
            "status": status,
            "failure": failure,
            "created_by": definition.created_by,
            "created_at": definition.created_at,
            "updated_at": definition.updated_at,
        }
    )


def _looked_for(image: str, engine: str) -> ImageCard:
    card = ImageCard(
        name=short_name(image),
        image=image,
        status="created",
        created_by=FROM_CONFIG,
    )
    try:
        chosen = chosen_engine(engine)
        digest = chosen.digest(image)
    except OrderError as error:
        return card.model_copy(update={"failure": error.detail})
    if digest is None:
        return card
    return card.model_copy(update={"status": "uploaded", "digest": digest, "engine": chosen.name})
