"""Chooses what runs a program apart: namespaces for a command, an engine for an image."""

from functools import cache

from broker.settings.config import load
from worker.programs.engines.containers import container_isolation, require
from worker.programs.engines.engine import chosen_engine
from worker.programs.interface import Isolation
from worker.programs.isolation.commands import CommandIsolation


def isolation_for(image: str, engine: str) -> Isolation:
    """Return what runs a command, or an image with this engine (empty = the first that works).

    No command sees the data folder, in which the slides and results of other orders are. Raise
    OrderError where an image cannot be run, because there is no engine.
    """
    if image:
        return _of_engine(engine)
    return CommandIsolation(hidden=(load().broker.data.absolute(),))


def image_digest(image: str, engine: str) -> str:
    """Return the digest of an image, `sha256:…`.

    Raise OrderError where the engine does not have the image, or there is none that works.
    """
    return require(chosen_engine(engine), image)


@cache
def _of_engine(engine: str) -> Isolation:
    """Return what runs images; what the engine grants is found out once for this process."""
    return container_isolation(engine)
