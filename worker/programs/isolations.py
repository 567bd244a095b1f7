"""Chooses what runs a program apart: namespaces for a command, an engine for an image."""

from broker.settings.config import load
from worker.programs.engines.containers import container_isolation
from worker.programs.interface import Isolation
from worker.programs.isolation.commands import CommandIsolation


def isolation_for(image: str, engine: str) -> Isolation:
    """Return what runs a command, or an image with this engine (empty = the first that works).

    No command sees the data folder, in which the slides and results of other orders are. Raise
    OrderError where an image cannot be run, because there is no engine.
    """
    if image:
        return container_isolation(engine)
    return CommandIsolation(hidden=(load().broker.data.absolute(),))
