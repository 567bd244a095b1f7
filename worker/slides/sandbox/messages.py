"""Messages between the worker and its decoder processes: JSON, and after it pixels or descriptors.

Knows the framing, not the contents. Nothing is pickled, since a hostile slide may control the
decoder process.
"""

import socket
import struct
from collections.abc import Sequence
from time import monotonic
from typing import Final

from worker.geometry.frame import Pixels

_SIZES: Final = struct.Struct("<II")  # bytes of JSON, bytes of pixels
_NUMBER: Final = struct.Struct("<i")
_MAX_JSON_BYTES: Final = 2**20
_DESCRIPTORS_AT_ONCE: Final = 128  # Linux takes 253 in a message


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


def send_number(connection: socket.socket, number: int) -> None:
    """Send one number of 32 bits. Raises `OSError`."""
    connection.sendall(_NUMBER.pack(number))


def receive_number(connection: socket.socket, within_s: float) -> int:
    """Return the next number.

    Raises `TimeoutError` if it is not received in time, `ConnectionError` if the other process has
    ended.
    """
    raw = _receive_exactly(connection, bytearray(_NUMBER.size), monotonic() + within_s)
    number: int = _NUMBER.unpack(raw)[0]
    return number


def send_descriptors(connection: socket.socket, descriptors: Sequence[int]) -> None:
    """Send open files to the other process. Raises `OSError`."""
    for start in range(0, len(descriptors), _DESCRIPTORS_AT_ONCE):
        socket.send_fds(connection, [b"d"], descriptors[start : start + _DESCRIPTORS_AT_ONCE])


def receive_descriptors(connection: socket.socket, count: int) -> list[int]:
    """Return so many open files of the other process.

    Raises `ProtocolError` where they do not all arrive, `ConnectionError` if the other process has
    ended.
    """
    descriptors: list[int] = []
    while len(descriptors) < count:
        sent, received, flags, _ = socket.recv_fds(connection, 1, _DESCRIPTORS_AT_ONCE)
        if not sent:
            raise ConnectionResetError("the other end is gone")
        if not received or flags & socket.MSG_CTRUNC:
            raise ProtocolError("this process may not have so many files open")
        descriptors.extend(received)
    return descriptors


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
