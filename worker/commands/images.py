"""`python -m worker.commands.images FILE`: what `slidelane image` starts.

FILE is the request. Writes an event `image` for each image that was looked at, added, pulled or
removed, and `pulling` before one is fetched.
"""

import getpass
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from broker.errors import OrderError, Problem
from broker.orders.hosting import ImageCard
from broker.settings.config import Config, ConfigError, load
from worker.commands.events import EventWriter
from worker.programs.engines.engine import chosen_engine
from worker.programs.image_definitions import (
    MOST_NAME_CHARACTERS,
    ImageDefinition,
    ImageDefinitions,
)
from worker.programs.images import card_of, images_of, short_name


class ImageRequest(BaseModel):
    """What is asked: the content of the request's file. `words`: names or images; none = all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: Literal["list", "add", "pull", "remove"]
    words: tuple[str, ...] = ()
    name: str = ""
    engine: str = ""


def main() -> None:
    """Do what the request's file asks, and write its events."""
    events = EventWriter.take_stdout()
    request = ImageRequest.model_validate_json(Path(sys.argv[1]).read_bytes())
    try:
        ImageCommand(load(), events).do(request)
    except ConfigError as error:
        events.failed(Problem("request_invalid", str(error)))
        return
    events.write("done")


class ImageCommand:
    """Reads and changes the image definitions of this machine."""

    def __init__(self, config: Config, events: EventWriter) -> None:
        self._worker = config.worker
        self._definitions = ImageDefinitions(config.broker.data)
        self._events = events

    def do(self, request: ImageRequest) -> None:
        """Write what is asked for. Raise `ConfigError` for what cannot be done."""
        if request.action == "add":
            self._add(request)
        elif request.action == "remove":
            self._remove(request.words)
        elif request.action == "pull":
            for card in self._chosen(request.words):
                self._pull(card)
        else:
            for card in self._cards():
                self._tell(card)

    def _cards(self) -> tuple[ImageCard, ...]:
        return images_of(self._worker, self._definitions.all())

    def _tell(self, card: ImageCard) -> None:
        self._events.write("image", **card.model_dump())

    def _chosen(self, words: Sequence[str]) -> Iterator[ImageCard]:
        """Yield the images with these names; all of them without any. Raise `ConfigError`."""
        cards = self._cards()
        if not words:
            yield from cards
        for word in words:
            found = [card for card in cards if word in (card.name, card.image)]
            if not found:
                raise ConfigError(
                    f"there is no image {word}; define it: slidelane image add {word}"
                )
            yield found[0]

    def _add(self, request: ImageRequest) -> None:
        for image in request.words:
            definition = self._definition(image, request.engine)
            if request.name:
                definition = definition.model_copy(update={"name": request.name})
            self._definitions.put(definition)
            self._tell(card_of(definition))

    def _pull(self, card: ImageCard) -> None:
        """Have the engine fetch the image, and keep how that went in its definition."""
        self._events.write("pulling", image=card.image)
        engine = self._engine_of(card)
        failure = ""
        try:
            chosen_engine(engine).pull(card.image)
        except OrderError as error:
            failure = error.detail
        definition = self._definition(card.image, engine)
        definition = definition.model_copy(update={"failure": failure})
        self._definitions.put(definition)
        self._tell(card_of(definition))

    def _definition(self, image: str, engine: str) -> ImageDefinition:
        """Return the definition of the image, changed now; a new one where there is none."""
        now = time.time()
        known = self._definitions.find(image)
        if known is not None and known.image == image:
            return known.model_copy(update={"engine": engine, "updated_at": now})
        name = short_name(image)
        if self._definitions.find(name) is not None:
            name = image[:MOST_NAME_CHARACTERS]  # another image has the short one
        return ImageDefinition(
            name=name,
            image=image,
            engine=engine,
            created_by=_user(),
            created_at=now,
            updated_at=now,
        )

    def _engine_of(self, card: ImageCard) -> str:
        """Return the engine that the definition or an algorithm names; empty = any."""
        known = self._definitions.find(card.image)
        if known is not None:
            return known.engine
        for entry in self._worker.algorithms.values():
            if entry.image == card.image:
                return entry.engine or ""
        return ""

    def _remove(self, words: Sequence[str]) -> None:
        for word in words:
            known = self._definitions.find(word)
            if known is None:
                users = [
                    name
                    for name, entry in self._worker.algorithms.items()
                    if entry.image and word in (entry.image, short_name(entry.image))
                ]
                if users:
                    raise ConfigError(
                        f"{word} is named by worker.algorithms.{users[0]} in the settings; "
                        "it goes when that does"
                    )
                raise ConfigError(f"there is no image {word}; slidelane image list shows them")
            card = card_of(known)
            self._definitions.remove(known.image)
            self._tell(card)


def _user() -> str:
    """Return the name of the user, behind sudo as well; its number where it has no name."""
    behind_sudo = os.environ.get("SUDO_USER")
    if behind_sudo:
        return behind_sudo
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


if __name__ == "__main__":
    main()
