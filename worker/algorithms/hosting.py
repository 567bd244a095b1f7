"""Announces the images, runnable containers and classes of this machine, and what has changed.

A thread of the worker's parent process. The containers and classes are those of the settings; the
engine of the machine is asked which images it has.
"""

import logging
import os
from pathlib import Path
from threading import Event
from typing import Final

from broker.errors import TemporaryError
from broker.order_store import OrderStore
from broker.orders.hosting import ContainerCard, HostedPrograms, MachineClassCard
from broker.settings.config import AlgorithmSettings, ConfigError, WorkerSettings
from broker.settings.programs import PROGRAM_KINDS, PROGRAM_TIME_LIMIT_S
from worker.algorithms.registry import queue_of
from worker.programs.image_definitions import ImageDefinition, ImageDefinitions
from worker.programs.images import images_of

_EVERY_S: Final = 60.0
_POLL_S: Final = 2.0
_log = logging.getLogger(__name__)


class HostingMonitor:
    """What this machine says of its programs, once a minute and when a definition changes."""

    def __init__(self, settings: WorkerSettings, data: Path, store: OrderStore) -> None:
        """Ask and announce nothing yet. `data`: the data folder, with the definitions."""
        self._settings = settings
        self._definitions = ImageDefinitions(data)
        self._store = store
        self._machine = os.uname().nodename
        self._seen: tuple[ImageDefinition, ...] | None = None

    def run(self, stopped: Event) -> None:
        """Announce until `stopped` is set."""
        while not stopped.is_set():
            self._announce()
            self._wait_for_news(stopped)

    def _wait_for_news(self, stopped: Event) -> None:
        for _ in range(round(_EVERY_S / _POLL_S)):
            if stopped.wait(_POLL_S) or self._read() != self._seen:
                return

    def _read(self) -> tuple[ImageDefinition, ...]:
        try:
            return self._definitions.all()
        except ConfigError as error:
            if self._seen is None:
                _log.warning("%s", error)
            return self._seen or ()

    def _announce(self) -> None:
        self._seen = self._read()
        programs = hosted_programs(self._settings, self._seen)
        try:
            self._store.announce_programs(self._machine, programs)
        except TemporaryError as error:
            _log.debug("the images of this machine could not be announced: %s", error.detail)


def hosted_programs(
    settings: WorkerSettings, definitions: tuple[ImageDefinition, ...]
) -> HostedPrograms:
    """Return what the machine announces; the engines are asked for each image."""
    programs = {
        name: entry for name, entry in settings.algorithms.items() if entry.kind in PROGRAM_KINDS
    }
    classes = [
        MachineClassCard(
            name=name,
            queue=one.queue,
            cpus=one.cpus,
            memory_bytes=one.memory,
            gpus=one.gpus,
        )
        for name, one in settings.classes.items()
    ]
    return HostedPrograms(
        images=images_of(settings, definitions),
        containers=tuple(_container(name, entry) for name, entry in programs.items()),
        classes=tuple(classes),
    )


def _container(name: str, entry: AlgorithmSettings) -> ContainerCard:
    return ContainerCard.model_validate(
        {
            "name": name,
            "kind": entry.kind,
            "image": entry.image or "",
            "class_name": entry.class_name or "",
            "queue": queue_of(entry),
            "time_limit_s": entry.time_limit_s or PROGRAM_TIME_LIMIT_S,
            "variables": sorted(entry.env),
        }
    )
