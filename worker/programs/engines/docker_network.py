"""The network of programs that docker runs, from which only this machine can be reached.

docker gives a container no network that somebody else has made, as podman does. So all programs
share an internal network, which leads nowhere but to this machine. A worker that is in a container
of the same docker joins it; the paths that it shows to a program are translated to docker's own.
"""

import json
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from worker.programs.engines.engine import ImageEngine
from worker.programs.engines.engine_call import EngineError
from worker.programs.interface import Mount

NETWORK: Final = "slidelane-programs"
_IN_CONTAINER: Final = Path("/.dockerenv")


class DockerNetwork:
    """The internal network. `address` is that of the worker in it."""

    def __init__(self, engine: ImageEngine) -> None:
        """Make or find the network, and join it from within a container. Raises EngineError."""
        self._engine = engine
        with suppress(EngineError):  # it is there already, or the next call says what is wrong
            engine.ask("network", "create", "--internal", NETWORK)
        self._container = self._own_container()
        if self._container:
            self.address = self._join()
            self._volumes = self._own_volumes()
        else:
            template = "{{(index .IPAM.Config 0).Gateway}}"
            self.address = engine.ask("network", "inspect", "--format", template, NETWORK)
            self._volumes = {}

    def outside(self, mounts: Iterable[Mount]) -> list[Mount]:
        """Return the mounts with their sources as docker sees them. Raises EngineError."""
        if not self._container:
            return list(mounts)
        return [replace(mount, source=self._outside(mount.source)) for mount in mounts]

    def _own_container(self) -> str:
        """Return the id of the container that this process is in, empty for none of docker's."""
        if not _IN_CONTAINER.exists():
            return ""
        with suppress(EngineError):
            return self._engine.ask("inspect", "--format", "{{.Id}}", socket.gethostname())
        return ""

    def _join(self) -> str:
        with suppress(EngineError):  # it has joined before
            self._engine.ask("network", "connect", NETWORK, self._container)
        template = f'{{{{(index .NetworkSettings.Networks "{NETWORK}").IPAddress}}}}'
        return self._engine.ask("inspect", "--format", template, self._container)

    def _own_volumes(self) -> dict[Path, Path]:
        """Return where the folders that are mounted into this container come from."""
        text = self._engine.ask("inspect", "--format", "{{json .Mounts}}", self._container)
        return {Path(one["Destination"]): Path(one["Source"]) for one in json.loads(text)}

    def _outside(self, path: Path) -> Path:
        for inside in [path, *path.parents]:
            if inside in self._volumes:
                return self._volumes[inside] / path.relative_to(inside)
        raise EngineError(
            f"{path} lies in no volume of the worker's container, so docker cannot show it"
        )
