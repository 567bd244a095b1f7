"""Connections that are not closed, requests that do not end, and what is no HTTP."""

import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h11
import httpx2
import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from services.connection import BoundedConfig, ConnectionLimits
from services.responses import problems
from services.server import OncePerMinute, connections_within
from tests.support.paths import ROOT
from tests.support.stack import wait_for

Serve = Callable[..., uvicorn.Server]
HALF = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
WHOLE = HALF + b"\r\n"


def app() -> FastAPI:
    api = FastAPI()
    problems.install(api)

    @api.get("/healthz")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @api.post("/upload")
    async def upload(request: Request) -> int:
        return len(await request.body())

    @api.get("/large")
    async def large() -> StreamingResponse:
        return StreamingResponse(b"x" * 65_536 for _ in range(2_000))

    return api


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start the app behind a real server with these limits."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def serve(**limits: Any) -> uvicorn.Server:
        listening = socket.create_server(("127.0.0.1", 0))
        chosen = ConnectionLimits(**{"connections": 100} | limits)
        port = listening.getsockname()[1]
        config = BoundedConfig(app(), chosen, port=port, log_config=None, lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        running.append((server, thread))
        return server

    yield serve
    for server, thread in running:
        server.should_exit = True
        thread.join()


@pytest.fixture
def connect() -> Iterator["Connect"]:
    """Open a connection to a server or a port, and send bytes on it."""
    with contextlib.ExitStack() as opened:

        def connect(server: uvicorn.Server | int, sent: bytes = b"") -> socket.socket:
            port = server if isinstance(server, int) else server.config.port
            wire = opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            wire.sendall(sent)
            return wire

        yield connect


Connect = Callable[..., socket.socket]


def answer_on(wire: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Return the status, headers and body of the next answer, read until its end."""
    http = h11.Connection(h11.CLIENT)
    http.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    http.send(h11.EndOfMessage())
    status = 0
    headers: dict[str, str] = {}
    body = bytearray()
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(wire.recv(65_536))
        elif isinstance(event, h11.Response):
            status = event.status_code
            headers = {name.decode(): value.decode() for name, value in event.headers}
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return status, headers, bytes(body)


def problem_on(wire: socket.socket) -> tuple[int, str]:
    status, headers, body = answer_on(wire)
    assert headers["content-type"] == "application/problem+json"
    assert headers["connection"] == "close"
    assert headers["x-content-type-options"] == "nosniff"
    problem = json.loads(body)
    assert problem["status"] == status
    assert ("retry-after" in headers) == (status == 503)
    assert wire.recv(1) == b""
    return status, problem["code"]


def test_headers_that_do_not_end_are_not_waited_for(serve: Serve, connect: Connect) -> None:
    """408 and the end of the connection, however often a byte arrives."""
    server = serve(request_within_s=1.0)
    half = connect(server, HALF)
    silent = connect(server)
    assert problem_on(half) == (408, "headers_too_slow")
    assert silent.recv(1) == b""


def test_the_next_request_of_a_connection_has_its_deadline_too(
    serve: Serve, connect: Connect
) -> None:
    """Also where it began in time."""
    wire = connect(serve(request_within_s=1.0), WHOLE)
    assert answer_on(wire)[0] == 200
    wire.sendall(HALF)
    assert problem_on(wire) == (408, "headers_too_slow")


def test_a_connection_without_a_next_request_is_closed(serve: Serve, connect: Connect) -> None:
    """Without an answer, which a caller would take for that of its next request."""
    wire = connect(serve(idle_s=1), WHOLE)
    assert answer_on(wire)[0] == 200
    assert wire.recv(1) == b""


def test_a_body_that_no_route_reads_is_not_waited_for(serve: Serve, connect: Connect) -> None:
    """The answer is there at once; the rest of the body has as long as the headers of a request."""
    head = b"POST /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n"
    wire = connect(serve(request_within_s=1.0), head)
    assert answer_on(wire)[0] == 404
    ended = threading.Event()

    def drip() -> None:
        with contextlib.suppress(OSError):
            while not ended.wait(0.2):
                wire.sendall(b"x")

    thread = threading.Thread(target=drip)
    thread.start()
    with contextlib.suppress(ConnectionResetError):
        assert wire.recv(1) == b""
    ended.set()
    thread.join()


def test_an_answer_that_nobody_takes_ends(serve: Serve, connect: Connect) -> None:
    """130 MB are not kept for a caller that reads nothing."""
    server = serve(reads_within_s=0.5)
    connect(server, b"GET /large HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    wait_for(lambda: server.server_state.connections, what="the connection")
    wait_for(lambda: not server.server_state.connections, what="the end of the connection")


def test_who_reads_gets_all_of_a_large_answer(serve: Serve, connect: Connect) -> None:
    """The deadline is for taking something: it begins anew whenever something was taken."""
    wire = connect(serve(reads_within_s=20.0), b"GET /large HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert len(answer_on(wire)[2]) == 2_000 * 65_536


def test_a_new_connection_takes_the_place_of_the_one_that_waits_longest(
    serve: Serve, connect: Connect
) -> None:
    """The half request that is older is told why; the newer one and a good caller are served."""
    server = serve(connections=3)
    oldest = connect(server, HALF)
    served = connect(server, WHOLE)
    assert answer_on(served)[0] == 200
    newer = connect(server, HALF)
    assert answer_on(connect(server, WHOLE))[0] == 200
    assert problem_on(oldest) == (503, "too_many_connections")
    newer.sendall(b"\r\n")
    assert answer_on(newer)[0] == 200


def test_a_body_that_does_not_arrive_makes_room_too(serve: Serve, connect: Connect) -> None:
    """Its route waits for it, but nothing is being done; a good caller comes first."""
    server = serve(connections=1)
    head = b"POST /upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n"
    slow = connect(server, head + b"1234")
    wait_for(lambda: server.server_state.tasks, what="the request")
    assert answer_on(connect(server, WHOLE))[0] == 200
    assert problem_on(slow) == (503, "too_many_connections")
    wait_for(lambda: not server.server_state.tasks, what="the end of the request")


def test_a_connection_that_is_being_served_is_not_given_up(serve: Serve, connect: Connect) -> None:
    """Where every connection is in use for an answer, the new one is refused."""
    server = serve(connections=1)
    wire = connect(server, b"GET /large HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert wire.recv(12) == b"HTTP/1.1 200"
    assert problem_on(connect(server)) == (503, "too_many_connections")


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"nonsense\r\n\r\n", (400, "request_malformed")),
        (b"GET / HTTP/1.1\r\n\r\n", (400, "request_malformed")),
        (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", (400, "request_malformed")),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", (400, "request_malformed")),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: br\r\n\r\n",
            (400, "request_malformed"),
        ),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            (400, "request_malformed"),
        ),
        (b"GET /?" + b"q" * 70_000, (431, "headers_too_large")),
        (b"GET / HTTP/1.1\r\nCookie: " + b"q" * 70_000, (431, "headers_too_large")),
    ],
)
def test_what_is_not_http_is_answered_with_a_problem(
    serve: Serve, connect: Connect, sent: bytes, expected: tuple[int, str]
) -> None:
    """In the form of every other error, and the connection is closed."""
    assert problem_on(connect(serve(), sent)) == expected


def test_a_broken_chunk_after_the_answer_began_ends_the_connection(
    serve: Serve, connect: Connect
) -> None:
    """There is no second answer on it, and no trace in the log."""
    head = b"POST /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    wire = connect(serve(), head)
    assert answer_on(wire)[0] == 404
    wire.sendall(b"no chunk\r\n\r\n")
    assert wire.recv(1) == b""


@pytest.mark.parametrize(("files", "connections"), [(1_048_576, 1000), (256, 80), (64, 1)])
def test_connections_are_fewer_than_files(files: int, connections: int) -> None:
    """A socket and a file for each, beside what the process needs itself."""
    assert connections_within(1000, files) == connections


def test_a_line_that_callers_cause_is_logged_once_a_minute() -> None:
    """Then with the number of those that were left out; other lines all pass."""

    def record(text: str) -> logging.LogRecord:
        return logging.LogRecord("asyncio", logging.ERROR, "", 0, text, None, None)

    often = OncePerMinute(["too many"], every_s=1000)
    assert [often.filter(record("too many files")) for _ in range(3)] == [True, False, False]
    assert often.filter(record("something else"))
    rested = OncePerMinute(["too many"], every_s=0)
    rested._left_out["too many"] = 7
    last = record("too many files")
    assert rested.filter(last)
    assert last.getMessage() == "too many files (7 more lines like this were left out)"


@pytest.fixture
def small_api(redis_url: str, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The API as a process that may have 256 files open: its address and its log."""
    log = tmp_path / "api.log"
    environment = os.environ | {
        "SLIDELANE_BROKER__REDIS_URL": redis_url,
        "SLIDELANE_SERVICES__PORT": "0",
    }
    command = f"ulimit -n 256 && exec {sys.executable} -m services"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            ["sh", "-c", command],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    assert process.stdout
    yield process.stdout.readline().split()[3], log
    process.kill()
    process.communicate()


def test_more_half_requests_than_files_do_not_stop_the_api(
    small_api: tuple[str, Path], connect: Connect
) -> None:
    """600 connections to a process with 256 files: an established caller and a new one are served,
    and the log stays small."""
    address, log = small_api
    port = int(address.rpartition(":")[2])
    with httpx2.Client(base_url=address, timeout=30, trust_env=False) as established:
        assert established.get("/healthz").status_code == 200
        for number in range(600):
            connect(port, HALF)
            if number % 20 == 0:
                assert established.get("/healthz").status_code == 200
    with httpx2.Client(base_url=address, timeout=30, trust_env=False) as new:
        answer = new.get("/healthz")
    assert answer.status_code == 200
    assert answer.elapsed.total_seconds() < 10
    text = log.read_text()
    assert "at most 80 connections" in text
    assert len(text) < 20_000
