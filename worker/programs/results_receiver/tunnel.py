"""Copies bytes between a program and a host that it may reach, for a CONNECT of a proxy."""

import select
import socket
from typing import Final

_CONNECT_S: Final = 20.0
_IDLE_S: Final = 600.0
_PIECE_BYTES: Final = 2**16


def connect(host: str, port: int) -> socket.socket:
    """Return a connection to the host. Raise `OSError`."""
    return socket.create_connection((host, port), timeout=_CONNECT_S)


def copy_both_ways(near: socket.socket, far: socket.socket) -> None:
    """Copy what each side sends to the other, until one of them ends or both are silent."""
    sockets = [near, far]
    for one in sockets:
        one.settimeout(_IDLE_S)
    while True:
        readable, _, _ = select.select(sockets, [], [], _IDLE_S)
        if not readable:
            return
        for source in readable:
            target = far
            if source is far:
                target = near
            piece = source.recv(_PIECE_BYTES)
            if not piece:
                return
            target.sendall(piece)
