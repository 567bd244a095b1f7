"""What PHP and curl send to Kue for a viewer, byte by byte, to the server as it is deployed."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from broker.order_store import OrderStore
from broker.settings.config import Config
from services.app import create_app
from services.server import ApiServer
from tests.services.kue.conftest import Job, settings

CURL = b"Host: 127.0.0.1:%d\r\nAccept: */*\r\n"
"""The headers that PHP's curl sends by itself: no user agent, no Origin, no key."""


@pytest.fixture
def port(config: Config, announced: OrderStore) -> Iterator[int]:
    """The API behind the server that is deployed, on a real port."""
    opened = settings(config)
    services = opened.services.model_copy(update={"port": 0})
    server = ApiServer(create_app(opened, announced), services)
    listener = server.listen()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join()


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as wire:
        yield wire


def answered(wire: socket.socket) -> tuple[int, bytes]:
    answer = http.client.HTTPResponse(wire)
    answer.begin()
    body = answer.read()
    answer.close()
    return answer.status, body


def head(port: int, first: bytes, *more: bytes) -> bytes:
    return first + b" HTTP/1.1\r\n" + CURL % port + b"".join(more) + b"\r\n"


def test_an_order_above_one_kilobyte_waits_for_continue(port: int, viewer_job: Job) -> None:
    """libcurl sends `Expect: 100-continue` and holds the body back for a second."""
    job: Any = viewer_job()
    job["data"]["notes"] = "a long note, über alles; " * 60
    body = json.dumps(job).encode()
    with connected(port) as wire:
        wire.sendall(
            head(
                port,
                b"POST /kue/job",
                b"Content-Type: application/json\r\n",
                b"Content-Length: %d\r\n" % len(body),
                b"Expect: 100-continue\r\n",
            )
        )
        assert wire.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.sendall(body)
        status, answer = answered(wire)
    assert (status, answer) == (200, b'{"message":"job created","id":1}')
    with connected(port) as wire:
        wire.sendall(head(port, b"GET /kue/job/1"))
        status, answer = answered(wire)
    document = json.loads(answer)
    assert (status, document["data"]["notes"]) == (200, job["data"]["notes"])
    assert answer.isascii()


@pytest.mark.parametrize("expects", [b"", b"Expect: 100-continue\r\n"])
def test_a_form_is_answered_with_nothing(port: int, expects: bytes) -> None:
    """What curl sends of an array without a header of its own: Kue takes no job from it."""
    body = b"type=analysisJob&data%5Btitle%5D=title1+%3A%3A+" + b"&note=x" * 200
    with connected(port) as wire:
        wire.sendall(
            head(
                port,
                b"POST /kue/job",
                b"Content-Type: application/x-www-form-urlencoded\r\n",
                b"Content-Length: %d\r\n" % len(body),
                expects,
            )
        )
        if expects:
            assert wire.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.sendall(body)
        assert answered(wire) == (204, b"")


def test_a_job_in_pieces_is_read(port: int, viewer_job: Job) -> None:
    """Chunked, as programs send what they make on the way."""
    body = json.dumps(viewer_job()).encode()
    pieces = [body[start : start + 100] for start in range(0, len(body), 100)]
    with connected(port) as wire:
        wire.sendall(
            head(
                port,
                b"POST /kue/job",
                b"Content-Type: application/json; charset=utf-8\r\n",
                b"Transfer-Encoding: chunked\r\n",
            )
        )
        for piece in pieces:
            wire.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        wire.sendall(b"0\r\n\r\n")
        assert answered(wire)[0] == 200


def test_eight_viewers_order_at_once(port: int, viewer_job: Job) -> None:
    """Each job has a number of its own, and none is left out."""
    body = json.dumps(viewer_job()).encode()

    def order(_: int) -> int:
        with connected(port) as wire:
            kind = b"Content-Type: application/json\r\n"
            length = b"Content-Length: %d\r\n" % len(body)
            wire.sendall(head(port, b"POST /kue/job", kind, length) + body)
            return int(json.loads(answered(wire)[1])["id"])

    with ThreadPoolExecutor(8) as threads:
        numbers = list(threads.map(order, range(8)))
    assert sorted(numbers) == list(range(1, 9))
