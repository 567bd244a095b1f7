"""Messages between a worker and the process that decodes for it: a little JSON, and pixels behind it.

Owns the framing, and looks into neither. No pickles: a hostile file may rule the process at the other end.
"""

import socket
import struct
from time import monotonic
from typing import Final

from worker.geometry.frame import Pixels

_SIZES: Final = struct.Struct("<II")  # bytes of JSON, bytes of pixels
_MOST_JSON_BYTES: Final = 2**20


class ProtocolError(Exception):
    """The other end does not speak as it should."""


def send(wire: socket.socket, told: bytes, pixels: Pixels | None = None) -> None:
    """One message. Raises `OSError`."""
    raw = memoryview(b"") if pixels is None else _bytes_of(pixels)
    wire.sendall(_SIZES.pack(len(told), len(raw)) + told)
    wire.sendall(raw)


def receive(
    wire: socket.socket, into: Pixels | None = None, within_s: float | None = None
) -> tuple[bytes, bool]:
    """The next message, and whether pixels came with it, which are in `into` then.

    Raises `ProtocolError`; `TimeoutError` when it is not here in time; `ConnectionError` when the other end is gone.
    """
    deadline = None if within_s is None else monotonic() + within_s
    told_bytes, pixel_bytes = _SIZES.unpack(_exactly(wire, bytearray(_SIZES.size), deadline))
    if told_bytes > _MOST_JSON_BYTES or pixel_bytes not in (0, 0 if into is None else into.nbytes):
        raise ProtocolError(f"a message of {told_bytes} and {pixel_bytes} bytes")
    told = bytes(_exactly(wire, bytearray(told_bytes), deadline))
    if into is not None and pixel_bytes:
        _exactly(wire, _bytes_of(into), deadline)
    return told, pixel_bytes > 0


def _bytes_of(pixels: Pixels) -> memoryview:
    view: memoryview = pixels.data
    return view.cast("B")  # which refuses what is not contiguous


def _exactly(
    wire: socket.socket, buffer: bytearray | memoryview, deadline: float | None
) -> bytearray | memoryview:
    rest = memoryview(buffer)
    while rest:
        if deadline is not None:
            wire.settimeout(_left_s(deadline))
        count = wire.recv_into(rest)
        if not count:
            raise ConnectionResetError("the other end is gone")
        rest = rest[count:]
    return buffer


def _left_s(deadline: float) -> float:
    left_s = deadline - monotonic()
    if left_s <= 0:  # to a socket, no time at all is another thing
        raise TimeoutError
    return left_s
