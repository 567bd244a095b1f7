"""The connections to the viewer: kept, replaced when they were closed, and never believed."""

import asyncio
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker.errors import TemporaryError
from broker.settings.config import BrokerSettings
from broker.settings.viewer import ViewerAddress, viewer_socket
from services.slides.viewer_process import http_connection
from services.slides.viewer_process.client import MOST_PICTURES, MOST_QUESTIONS, ViewerClient
from tests.services.slides.conftest import PATH
from tests.support.viewer_stand_in import FACTS, TILE, ViewerStandIn

TARGET = "/iiif/full/max/0/default.jpg"


def _asked(settings: BrokerSettings, times: int = 1) -> list[bytes]:
    """Return the bodies of requests that one client makes after one another."""

    async def ask() -> list[bytes]:
        client = ViewerClient(settings)
        try:
            return [(await client.get(TARGET, PATH)).body for _ in range(times)]
        finally:
            await client.close()

    return asyncio.run(ask())


@contextmanager
def _answering(data: Path, answer: Callable[[socket.socket], None]) -> Iterator[None]:
    """Answer every connection to the viewer's socket by hand."""
    path = viewer_socket(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65_536)
                    answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(30)


def test_a_connection_serves_one_request_after_another(
    broker_settings: BrokerSettings,
) -> None:
    """Ten requests open one connection."""
    with ViewerStandIn(broker_settings.data) as viewer:
        viewer.slides = {PATH: FACTS}
        assert _asked(broker_settings, 10) == [TILE] * 10
        assert viewer.connections == 1


def test_a_connection_that_was_closed_meanwhile_is_replaced(
    broker_settings: BrokerSettings,
) -> None:
    """The viewer closes each after its answer, without saying so: each request is answered."""
    with ViewerStandIn(broker_settings.data) as viewer:
        viewer.slides = {PATH: FACTS}
        viewer.closes_silently = True
        assert _asked(broker_settings, 5) == [TILE] * 5
        assert viewer.connections == 5


def test_a_viewer_that_was_started_again_is_found(broker_settings: BrokerSettings) -> None:
    """The kept connection of the old one is dropped."""

    async def ask() -> None:
        client = ViewerClient(broker_settings)
        for _ in range(2):
            with ViewerStandIn(broker_settings.data) as viewer:
                viewer.slides = {PATH: FACTS}
                assert (await client.get(TARGET, PATH)).body == TILE
        with pytest.raises(TemporaryError) as caught:
            await client.get(TARGET, PATH)
        assert caught.value.code == "viewer_unavailable"
        await client.close()

    asyncio.run(ask())


def test_many_requests_at_once_share_few_connections(broker_settings: BrokerSettings) -> None:
    """No more than 16 questions at a time, and each has its own answer."""

    async def ask() -> None:
        client = ViewerClient(broker_settings)
        wanted = [f"/folders/0?path={number}" for number in range(200)]
        answers = await asyncio.gather(*(client.get_json(target) for target in wanted))
        assert [answer["path"] for answer in answers] == [str(n) for n in range(200)]
        await client.close()

    with ViewerStandIn(broker_settings.data) as viewer:
        asyncio.run(ask())
        assert viewer.connections <= MOST_QUESTIONS


def test_pixels_do_not_wait_for_questions(broker_settings: BrokerSettings) -> None:
    """Slides that hang while they are opened keep nobody from looking at others."""
    released = threading.Event()

    def answer(connection: socket.socket) -> None:
        request = connection.recv(65_536)
        if request.startswith(b"GET /slide"):
            released.wait(60)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    async def ask() -> None:
        client = ViewerClient(broker_settings)
        hanging = [
            asyncio.create_task(client.get_json("/slide", PATH))
            for _ in range(MOST_QUESTIONS + MOST_PICTURES)
        ]
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(30):
                assert (await client.get(TARGET, PATH)).body == b"{}"
        finally:
            released.set()
        assert await asyncio.gather(*hanging) == [{}] * len(hanging)
        await client.close()

    path = viewer_socket(broker_settings.data)
    path.parent.mkdir(parents=True, exist_ok=True)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            answer(self.request)

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True
        request_queue_size = 128

    with Server(str(path), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        asyncio.run(ask())
        server.shutdown()


def test_a_caller_that_leaves_leaves_no_answer_for_the_next(
    broker_settings: BrokerSettings,
) -> None:
    """The connection of a cancelled request is not used again."""

    async def ask() -> None:
        client = ViewerClient(broker_settings)
        leaving = asyncio.create_task(client.get_json("/folders/0?path=left"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait([leaving])
        assert (await client.get_json("/folders/0?path=next"))["path"] == "next"
        await client.close()

    with ViewerStandIn(broker_settings.data):
        asyncio.run(ask())


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"hello\r\n\r\n", id="no-http"),
        pytest.param(b"HTTP/1.1 2x0 OK\r\ncontent-length: 0\r\n\r\n", id="no-status"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\nbody", id="no-length"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", id="negative"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", id="too-long"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort", id="cut"),
        pytest.param(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000, id="endless-header"),
        pytest.param(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", id="no-chunk"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9999999999\r\n", id="big-chunk"
        ),
        pytest.param(b"HTTP/1.1 500 No\r\ncontent-length: 4\r\n\r\noops", id="no-problem"),
        pytest.param(
            b"HTTP/1.1 401 No\r\ncontent-type: application/problem+json\r\n"
            b'content-length: 40\r\n\r\n{"code": "key_missing", "detail": "none"}',
            id="another-secret",
        ),
    ],
)
def test_an_answer_that_is_none_is_said_of_the_viewer(
    broker_settings: BrokerSettings, answer: bytes
) -> None:
    """`viewer_unavailable`, never a bug and never the viewer's own 401."""
    broker_settings.data.mkdir(parents=True, exist_ok=True)
    with (
        _answering(broker_settings.data, lambda connection: connection.sendall(answer)),
        pytest.raises(TemporaryError) as caught,
    ):
        _asked(broker_settings)
    assert caught.value.code == "viewer_unavailable"
    assert caught.value.hint


def test_an_answer_in_chunks_is_put_together(broker_settings: BrokerSettings) -> None:
    """With an extension and a trailer."""
    answer = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3;a=b\r\nabc\r\n2\r\nde\r\n0\r\ntrailer: x\r\n\r\n"
    )
    broker_settings.data.mkdir(parents=True, exist_ok=True)
    with _answering(broker_settings.data, lambda connection: connection.sendall(answer)):
        assert _asked(broker_settings) == [b"abcde"]


def test_a_viewer_on_a_port_is_sent_the_secret(broker_settings: BrokerSettings) -> None:
    """As the header that it asks for, and the host and port are those of the URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        received: list[bytes] = []

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                received.append(connection.recv(65_536))
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        address = ViewerAddress.model_validate({"url": url, "secret": "s" * 24})
        assert _asked(broker_settings.model_copy(update={"viewer": address})) == [b"ok"]
        thread.join(30)
    assert b"authorization: Bearer " + b"s" * 24 in received[0]
    assert b"slide-path: /slides/ward-7/a.svs" in received[0]
    assert http_connection.MAX_BODY_BYTES >= 4096 * 4096 * 3
