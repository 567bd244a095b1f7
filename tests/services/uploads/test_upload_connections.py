"""Uploads over real connections, which break, are slow, or come twice."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from broker.order_store import OrderStore
from broker.settings.config import Config
from broker.uploads import Uploads
from services.uploads import receiving
from tests.support.api_server import served_api
from tests.support.stack import wait_for
from tests.support.tus import OCTETS, TusCaller, id_of

CONTENT = os.urandom(3_000_000)
MB = 2**20


@pytest.fixture
def port(config: Config, store: OrderStore) -> Iterator[int]:
    """The API behind a real server that takes four connections."""
    with served_api(config, store, connections=4) as number:
        yield number


@pytest.fixture
def caller(port: int) -> Iterator[TusCaller]:
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
        yield TusCaller(http)


@contextlib.contextmanager
def patching(port: int, address: str, length: int) -> Iterator[socket.socket]:
    """A connection that has sent the headers of a PATCH of so many bytes."""
    head = (
        f"PATCH {address} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nTus-Resumable: 1.0.0\r\n"
        f"Upload-Offset: 0\r\nContent-Type: {OCTETS}\r\nContent-Length: {length}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
        wire.sendall(head.encode())
        yield wire


def reaches(caller: TusCaller, address: str, offset: int) -> None:
    wait_for(lambda: caller.offset(address) >= offset, what=f"offset {offset}")


def test_what_came_before_a_cut_is_kept(port: int, caller: TusCaller, uploads: Uploads) -> None:
    """To the last byte; the caller goes on from there."""
    address = caller.create(len(CONTENT)).headers["location"]
    with patching(port, address, len(CONTENT)) as wire:
        wire.sendall(CONTENT[:1_234_567])
        reaches(caller, address, MB)
    reaches(caller, address, 1_234_567)
    assert caller.offset(address) == 1_234_567
    # What came is on the disk a moment before the request that was cut has ended.
    rest = CONTENT[1_234_567:]
    wait_for(lambda: caller.patch(address, 1_234_567, rest).status_code == 204, what="the lock")
    assert uploads.slide_path(id_of(address)).read_bytes() == CONTENT


def test_one_request_writes_at_a_time(port: int, caller: TusCaller) -> None:
    """A second PATCH and a DELETE are told 423 until the first has ended."""
    address = caller.create(len(CONTENT)).headers["location"]
    with patching(port, address, len(CONTENT)) as wire:
        wire.sendall(CONTENT[: MB + 1])
        reaches(caller, address, MB)
        second = caller.patch(address, MB, b"x")
        assert (second.status_code, second.json()["code"]) == (423, "upload_busy")
        assert caller.delete(address).status_code == 423
    reaches(caller, address, MB + 1)
    wait_for(lambda: caller.patch(address, MB + 1, b"x").status_code == 204, what="the lock")
    assert caller.delete(address).status_code == 204


def test_a_caller_that_sends_nothing_is_left(
    port: int, caller: TusCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """408, and what came is kept; the lock is free again."""
    monkeypatch.setattr(receiving.receive, "__defaults__", (0.3, 600.0))
    address = caller.create(len(CONTENT)).headers["location"]
    with patching(port, address, len(CONTENT)) as wire:
        wire.sendall(CONTENT[:1000])
        assert wire.recv(1000).startswith(b"HTTP/1.1 408")
    assert caller.offset(address) == 1000
    assert caller.patch(address, 1000, CONTENT[1000:]).status_code == 204


def test_a_long_upload_is_not_the_one_that_makes_room(port: int, caller: TusCaller) -> None:
    """Where all connections are in use, those whose callers send nothing are closed first."""
    address = caller.create(len(CONTENT)).headers["location"]
    with contextlib.ExitStack() as idle, patching(port, address, len(CONTENT)) as wire:
        wire.sendall(CONTENT[:MB])
        reaches(caller, address, MB)
        for _ in range(2):
            idle.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
        wire.sendall(CONTENT[MB : 2 * MB])
        reaches(caller, address, 2 * MB)
        for _ in range(2):
            idle.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
        wire.sendall(CONTENT[2 * MB :])
        assert wire.recv(1000).startswith(b"HTTP/1.1 204")


def test_a_body_elsewhere_is_as_short_as_before(caller: TusCaller, port: int, folder: Path) -> None:
    """Only the bytes of an upload pass the limit of bodies: creation takes none, an order 413."""
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
        answer = http.post("/v1/orders", json={"x": "y" * 30_000})
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    created = caller.create(3)
    assert created.status_code == 201
    assert sum(path.stat().st_size for path in folder.rglob("files/*")) == 0
