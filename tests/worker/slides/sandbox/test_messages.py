"""What a worker accepts from its decoder process: whole messages of the requested size, in time."""

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest
from pydantic import ValidationError

from worker.slides.sandbox.answers import Answer
from worker.slides.sandbox.messages import (
    ProtocolError,
    receive,
    receive_descriptors,
    send,
    send_descriptors,
)

Connections = tuple[socket.socket, socket.socket]


@pytest.fixture
def connections() -> Iterator[Connections]:
    """Yield both ends of a connection."""
    local, remote = socket.socketpair()
    with local, remote:
        yield local, remote


def test_pixels_arrive_where_they_are_wanted(connections: Connections) -> None:
    """They are written directly to the given array. A message without pixels says so."""
    local, remote = connections
    into, pixels = np.zeros((4, 5, 3), np.uint8), np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    send(remote, b"{}", pixels)
    assert receive(local, into, 5) == (b"{}", True)
    assert np.array_equal(into, pixels)
    send(remote, b"[1]")
    assert receive(local, into, 5) == (b"[1]", False)


@pytest.mark.parametrize(
    "sizes", [(2**20 + 1, 0), (2, 59), (2, 61), (2, 2**32 - 1), (2**32 - 1, 60)]
)
def test_sizes_that_were_not_asked_for_are_nonsense(
    connections: Connections, sizes: tuple[int, int]
) -> None:
    """No memory is allocated for sizes that the other process merely claims."""
    local, remote = connections
    remote.sendall(struct.pack("<II", *sizes))
    with pytest.raises(ProtocolError):
        receive(local, np.empty((4, 5, 3), np.uint8), 5)


def test_pixels_that_were_not_asked_for_are_nonsense(connections: Connections) -> None:
    """Pixels are refused if the caller gave no array for them."""
    local, remote = connections
    send(remote, b"{}", np.zeros((1, 1, 3), np.uint8))
    with pytest.raises(ProtocolError):
        receive(local, None, 5)


def test_a_message_that_ends_early_means_that_the_other_end_is_gone(
    connections: Connections,
) -> None:
    """Half of a message raises `ConnectionError`."""
    local, remote = connections
    remote.sendall(struct.pack("<II", 10, 0) + b"{")
    remote.close()
    with pytest.raises(ConnectionError):
        receive(local, None, 5)


def test_a_message_that_drips_is_not_waited_for(connections: Connections) -> None:
    """The time limit is for the whole message, not for each of its bytes."""
    local, remote = connections
    done = Event()

    def drip() -> None:
        remote.sendall(struct.pack("<II", 1000, 0))
        while not done.wait(0.05):
            remote.sendall(b" ")

    dripping = Thread(target=drip)
    dripping.start()
    with pytest.raises(TimeoutError):
        receive(local, None, 0.3)
    done.set()
    dripping.join()


def test_an_array_with_gaps_is_refused(connections: Connections) -> None:
    """Pixels would be written to a copy of it and lost."""
    local, remote = connections
    send(remote, b"{}", np.zeros((4, 2, 3), np.uint8))
    with pytest.raises(TypeError, match="contiguous"):
        receive(local, np.zeros((4, 4, 3), np.uint8)[:, ::2], 5)


def test_descriptors_of_many_threads_arrive_in_their_order(connections: Connections) -> None:
    """Linux takes 253 in one message; a machine may have more cores."""
    local, remote = connections
    files = [os.memfd_create(str(number)) for number in range(300)]
    send_descriptors(local, files)
    received = receive_descriptors(remote, 300)
    names = [Path(f"/proc/self/fd/{fd}").readlink().name for fd in received]
    assert names == [f"memfd:{number} (deleted)" for number in range(300)]
    for fd in [*files, *received]:
        os.close(fd)


def test_a_message_without_its_descriptors_is_nonsense(connections: Connections) -> None:
    """Nobody waits for descriptors that the kernel has left out."""
    local, remote = connections
    local.sendall(b"d")
    with pytest.raises(ProtocolError):
        receive_descriptors(remote, 1)


FRAME = (
    b'{"width": 9, "height": 9, "mpp_x": null, "mpp_y": 0.5, "mpp_source": "tiff", '
    b'"bounds_x": 0, "bounds_y": 0}'
)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"[" * 100_000,
        b'"text"',
        b'{"command": "rm"}',
        b'{"frame": ' + FRAME.replace(b"9", b'"9"') + b"}",
        b'{"frame": ' + FRAME.replace(b"tiff", b"me") + b"}",
        b'{"refusal": {"code": "cancelled", "detail": "", "hint": ""}}',
        b'{"refusal": {"code": "not_a_slide", "detail": "' + b"a" * 5000 + b'", "hint": ""}}',
    ],
)
def test_answers_of_another_shape_are_not_believed(message: bytes) -> None:
    """Only the two codes of slides are accepted, and only texts of limited length."""
    assert Answer.model_validate_json(b'{"frame": ' + FRAME + b"}").frame
    with pytest.raises(ValidationError):
        Answer.model_validate_json(message)
