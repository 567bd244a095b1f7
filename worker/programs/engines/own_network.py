"""A network that has loopback alone, for one container: made by a process that holds it.

podman gives the network to a container by the id of that process. As another user than root the
process is run by `podman unshare`, so that the network belongs to the user namespace of containers.
"""

import select
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from worker.programs.engines.engine import ImageEngine, is_root
from worker.programs.engines.engine_call import EngineError, client_environment
from worker.programs.interface import Address
from worker.programs.isolation.client import import_path

_MODULE: Final = "worker.programs.engines.network_holder"
_START_S: Final = 60.0
_MOST_SOCKETS: Final = 64


class OwnNetwork:
    """A network of one container's own. Its sockets are the caller's."""

    def __init__(self, engine: ImageEngine, listen: Sequence[Address]) -> None:
        """Make the network. Raises EngineError where the system does not let us."""
        command = [sys.executable, "-m", _MODULE]
        if not is_root():
            command = [engine.program, "unshare", *command]
        addresses = [f"{address.host}:{address.port}" for address in listen]
        self._control, remote = socket.socketpair()
        with remote:
            self._holder = subprocess.Popen(
                [*command, *addresses],
                stdin=remote.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env={**client_environment(), "PYTHONPATH": import_path()},
            )
        self.listeners: list[socket.socket] = []
        try:
            self._process_id = self._receive()
        except EngineError:
            self.discard()
            raise

    @property
    def path(self) -> str:
        """The network as podman takes it."""
        return f"ns:/proc/{self._process_id}/ns/net"

    def close(self) -> None:
        """End the process that holds the network; a container that uses it goes on."""
        self._control.close()
        self._holder.wait()

    def discard(self) -> None:
        """Close everything; nobody has taken the sockets."""
        for listener in self.listeners:
            listener.close()
        self.close()

    def _receive(self) -> int:
        if not select.select([self._control], [], [], _START_S)[0]:
            raise EngineError("the process that holds its network does not answer")
        text, descriptors, _, _ = socket.recv_fds(self._control, 4096, _MOST_SOCKETS)
        self.listeners = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        if not text.isdigit():
            raise EngineError(text.decode() or "the process that holds its network has ended")
        return int(text)
