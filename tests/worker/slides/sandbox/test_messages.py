"""What a worker believes of the process that decodes for it: whole messages of the size it asked for, in time."""

import socket
import struct
from collections.abc import Iterator
from threading import Event, Thread

import numpy as np
import pytest
from pydantic import ValidationError

from worker.slides.sandbox.messages import ProtocolError, receive, send
from worker.slides.sandbox.process import Answer

Wires = tuple[socket.socket, socket.socket]


@pytest.fixture
def wires() -> Iterator[Wires]:
    """Ours and theirs."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_pixels_arrive_where_they_are_wanted(wires: Wires) -> None:
    """Straight in the array that is given; a message without pixels says so."""
    ours, theirs = wires
    into, pixels = np.zeros((4, 5, 3), np.uint8), np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    send(theirs, b"{}", pixels)
    assert receive(ours, into, 5) == (b"{}", True)
    assert np.array_equal(into, pixels)
    send(theirs, b"[1]")
    assert receive(ours, into, 5) == (b"[1]", False)


@pytest.mark.parametrize(
    "sizes", [(2**20 + 1, 0), (2, 59), (2, 61), (2, 2**32 - 1), (2**32 - 1, 60)]
)
def test_sizes_that_were_not_asked_for_are_nonsense(wires: Wires, sizes: tuple[int, int]) -> None:
    """No memory is taken for what the other end only claims to send."""
    ours, theirs = wires
    theirs.sendall(struct.pack("<II", *sizes))
    with pytest.raises(ProtocolError):
        receive(ours, np.empty((4, 5, 3), np.uint8), 5)


def test_pixels_that_were_not_asked_for_are_nonsense(wires: Wires) -> None:
    """An answer in words comes without them."""
    ours, theirs = wires
    send(theirs, b"{}", np.zeros((1, 1, 3), np.uint8))
    with pytest.raises(ProtocolError):
        receive(ours, None, 5)


def test_a_message_that_ends_early_means_that_the_other_end_is_gone(wires: Wires) -> None:
    """Half an answer is none."""
    ours, theirs = wires
    theirs.sendall(struct.pack("<II", 10, 0) + b"{")
    theirs.close()
    with pytest.raises(ConnectionError):
        receive(ours, None, 5)


def test_a_message_that_drips_is_not_waited_for(wires: Wires) -> None:
    """The time is for the whole message, not for each of its bytes."""
    ours, theirs = wires
    done = Event()

    def drip() -> None:
        theirs.sendall(struct.pack("<II", 1000, 0))
        while not done.wait(0.05):
            theirs.sendall(b" ")

    dripping = Thread(target=drip)
    dripping.start()
    with pytest.raises(TimeoutError):
        receive(ours, None, 0.3)
    done.set()
    dripping.join()


def test_an_array_with_gaps_is_refused(wires: Wires) -> None:
    """Pixels written to a copy of it would be lost."""
    ours, theirs = wires
    send(theirs, b"{}", np.zeros((4, 2, 3), np.uint8))
    with pytest.raises(TypeError, match="contiguous"):
        receive(ours, np.zeros((4, 4, 3), np.uint8)[:, ::2], 5)


FRAME = b'{"width": 9, "height": 9, "mpp_x": null, "mpp_y": 0.5, "mpp_source": "tiff", "bounds_x": 0, "bounds_y": 0}'


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"[" * 100_000,
        b'"text"',
        b'{"command": "rm"}',
        b'{"frame": ' + FRAME.replace(b"9", b'"9"') + b"}",
        b'{"frame": ' + FRAME.replace(b"tiff", b"me") + b"}",
        b'{"refusal": {"code": "cancelled", "detail": "", "hint": "", "field": ""}}',
        b'{"refusal": {"code": "not_a_slide", "detail": "'
        + b"a" * 5000
        + b'", "hint": "", "field": ""}}',
    ],
)
def test_answers_of_another_shape_are_not_believed(told: bytes) -> None:
    """Not even its words: only what a slide may be refused for can be told, and at no great length."""
    assert Answer.model_validate_json(b'{"frame": ' + FRAME + b"}").frame
    with pytest.raises(ValidationError):
        Answer.model_validate_json(told)
