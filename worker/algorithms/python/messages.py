"""Messages between a worker and the process that runs a site's code: JSON and arrays.

Nothing is pickled. Sizes are bounded: the code on the other side may be wrong.
"""

import json
import math
import socket
import struct
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
MAX_JSON_BYTES: Final = 64 * 2**20
MAX_ARRAY_BYTES: Final = 4 * 2**30
_SIZE: Final = struct.Struct("<I")
_KINDS: Final = frozenset("biuf")
_MOST_ARRAYS: Final = 32


class MessageError(Exception):
    """The other process sent what is no message."""


def send(
    connection: socket.socket, fields: Mapping[str, Any], arrays: Arrays | None = None
) -> None:
    """Send one message. Raises OSError, and ValueError for NaN or infinity in the fields."""
    whole = {name: np.ascontiguousarray(array) for name, array in (arrays or {}).items()}
    described = [[name, array.dtype.str, array.shape] for name, array in whole.items()]
    header = json.dumps({**fields, "arrays": described}, allow_nan=False).encode()
    connection.sendall(_SIZE.pack(len(header)) + header)
    for array in whole.values():
        if array.size:
            connection.sendall(array.reshape(-1).view(np.uint8).data)


def receive(connection: socket.socket) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the fields and the arrays of the next message.

    Raises MessageError, and ConnectionError where the other process has ended.
    """
    size_bytes = _SIZE.unpack(_exactly(connection, bytearray(_SIZE.size)))[0]
    if size_bytes > MAX_JSON_BYTES:
        raise MessageError(f"a message of {size_bytes} bytes")
    text = bytes(_exactly(connection, bytearray(size_bytes)))
    try:
        fields = json.loads(text)
        described = fields.pop("arrays")
    except (ValueError, AttributeError, KeyError, RecursionError):
        raise MessageError("a message that is no JSON of ours") from None
    if not isinstance(described, list) or len(described) > _MOST_ARRAYS:
        raise MessageError("arrays that are not described")
    return fields, {name: _received(connection, *rest) for name, *rest in described}


def _received(connection: socket.socket, dtype: str, shape: list[int]) -> NDArray[Any]:
    try:
        kind = np.dtype(dtype)
        size_bytes = math.prod(shape) * kind.itemsize
        is_wrong = kind.kind not in _KINDS or min(shape, default=0) < 0
    except (TypeError, ValueError):
        raise MessageError("an array that is not described") from None
    if is_wrong or size_bytes > MAX_ARRAY_BYTES:
        raise MessageError(f"an array of {size_bytes} bytes, {dtype}")
    array = np.empty(shape, kind)
    if size_bytes:
        _exactly(connection, array.reshape(-1).view(np.uint8).data)
    return array


def _exactly(connection: socket.socket, buffer: bytearray | memoryview) -> bytearray | memoryview:
    left = memoryview(buffer)
    while left:
        count = connection.recv_into(left)
        if not count:
            raise ConnectionResetError("the other process has ended")
        left = left[count:]
    return buffer
