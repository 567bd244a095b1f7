"""Where the receiver of one run listens: in the program's own network, or on this machine."""

import socket
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Final

from worker.programs.interface import Address, Isolation, RunningProgram
from worker.programs.results_receiver.receiver import listen

_INSIDE: Final = Address("127.0.0.1", 8080)
_INSIDE_API: Final = Address("127.66.0.17", 443)
"""In a network of the program's own, which nothing else uses."""
_HTTPS: Final = 443
_LOOPBACK: Final = "127.0.0.1"
_API_ADDRESSES: Final = tuple(f"127.66.0.{number}" for number in range(17, 81))
"""Addresses of this machine for Techcyte's name; each run has one of its own."""


@dataclass(frozen=True, slots=True)
class RunSockets:
    """Where the program finds the receiver.

    `plain` is for HTTP and as a proxy. `api` is the IP address for Techcyte's own name, empty where
    nothing can listen on port 443 or no name can be led there: then only the proxy leads to us.
    `inside` are the addresses on which the program's own network is to listen.
    """

    plain: Address
    api: str
    inside: tuple[Address, ...] = ()
    _plain: tuple[socket.socket, ...] = field(default=(), repr=False)
    _encrypted: tuple[socket.socket, ...] = field(default=(), repr=False)

    def plain_sockets(self, running: RunningProgram) -> tuple[socket.socket, ...]:
        """Return the sockets for HTTP, once the program was started."""
        if self.inside:
            return tuple(running.listeners[:1])
        return self._plain

    def encrypted_sockets(self, running: RunningProgram) -> tuple[socket.socket, ...]:
        """Return the sockets for TLS, once the program was started."""
        if self.inside:
            return tuple(running.listeners[1:])
        return self._encrypted


def open_sockets(isolation: Isolation, stack: ExitStack) -> RunSockets:
    """Return where the receiver of a run listens; sockets of ours are closed with `stack`."""
    if isolation.has_own_network:
        return RunSockets(_INSIDE, _INSIDE_API.host, (_INSIDE, _INSIDE_API))
    plain = stack.enter_context(listen(isolation.receiver_host))
    address = Address(isolation.receiver_host, plain.getsockname()[1])
    encrypted = _api_socket(isolation)
    if encrypted is None:
        return RunSockets(address, "", (), (plain,))
    stack.enter_context(encrypted)
    return RunSockets(address, encrypted.getsockname()[0], (), (plain,), (encrypted,))


def _api_socket(isolation: Isolation) -> socket.socket | None:
    """Return a socket on port 443 of a free address, None where there cannot be one."""
    if not isolation.shows_mounts:
        return None
    hosts = _API_ADDRESSES
    if isolation.receiver_host != _LOOPBACK:
        hosts = (isolation.receiver_host,)
    for host in hosts:
        with suppress(OSError):  # in use by another run, or a port for root alone
            return listen(host, _HTTPS)
    return None
