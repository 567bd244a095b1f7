"""Messages between the worker and a decoder process: JSON, and after it pixels.

Knows the framing, not the contents. Nothing is pickled, since a hostile slide may control the
decoder process.
"""

import socket
import struct
from time import monotonic
from typing import Final

from worker.geometry.frame import Pixels

_SIZES: Final = struct.Struct("<II")  # bytes of JSON, bytes of pixels
_MAX_JSON_BYTES: Final = 2**20


class ProtocolError(Exception):
    """The other process sent something that is not a valid message."""


def send(connection: socket.socket, message: bytes, pixels: Pixels | None = None) -> None:
    """Send one message. Raises `OSError`."""
    if pixels is None:
        raw_pixels = memoryview(b"")
    else:
        raw_pixels = _as_bytes(pixels)
    connection.sendall(_SIZES.pack(len(message), len(raw_pixels)) + message)
    connection.sendall(raw_pixels)


def receive(
    connection: socket.socket, into: Pixels | None = None, within_s: float | None = None
) -> tuple[bytes, bool]:
    """Return the next message, and whether pixels came with it and were written to `into`.

    Raises `ProtocolError`; `TimeoutError` if the whole message is not received in time;
    `ConnectionError` if the other process has ended.
    """
    deadline = None
    if within_s is not None:
        deadline = monotonic() + within_s
    sizes = _receive_exactly(connection, bytearray(_SIZES.size), deadline)
    message_bytes, pixel_bytes = _SIZES.unpack(sizes)
    expected_pixel_bytes = 0
    if into is not None:
        expected_pixel_bytes = into.nbytes
    if message_bytes > _MAX_JSON_BYTES or pixel_bytes not in (0, expected_pixel_bytes):
        raise ProtocolError(f"a message of {message_bytes} and {pixel_bytes} bytes")
    message = bytes(_receive_exactly(connection, bytearray(message_bytes), deadline))
    if into is not None and pixel_bytes:
        _receive_exactly(connection, _as_bytes(into), deadline)
    return message, pixel_bytes > 0


def _as_bytes(pixels: Pixels) -> memoryview:
    """Return a view of the pixels' bytes. Raises `TypeError` if they are not contiguous."""
    view: memoryview = pixels.data
    return view.cast("B")


def _receive_exactly(
    connection: socket.socket, buffer: bytearray | memoryview, deadline: float | None
) -> bytearray | memoryview:
    remaining = memoryview(buffer)
    while remaining:
        if deadline is not None:
            connection.settimeout(_remaining_s(deadline))
        count = connection.recv_into(remaining)
        if not count:
            raise ConnectionResetError("the other end is gone")
        remaining = remaining[count:]
    return buffer


def _remaining_s(deadline: float) -> float:
    """Return the seconds until the deadline, never 0: that would make a socket non-blocking."""
    remaining_s = deadline - monotonic()
    if remaining_s <= 0:
        raise TimeoutError
    return remaining_s
