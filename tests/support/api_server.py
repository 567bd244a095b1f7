"""The API behind a real server in this process, and a way to it that breaks."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

import uvicorn

from broker.order_store import OrderStore
from broker.settings.config import Config
from services.app import create_app
from services.connection import BoundedConfig, ConnectionLimits


@contextmanager
def served_api(config: Config, store: OrderStore, connections: int = 100) -> Iterator[int]:
    """Serve the API on 127.0.0.1 for the context, and give the port."""
    listening = socket.create_server(("127.0.0.1", 0))
    port = int(listening.getsockname()[1])
    limits = ConnectionLimits(connections=connections)
    app = create_app(config, store)
    settings = BoundedConfig(app, limits, port=port, log_config=None, lifespan="off")
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join()


class BreakingWay:
    """Passes connections on to a port. Of the first `cuts` no more than `after_bytes` arrive."""

    def __init__(self, port: int, cuts: int, after_bytes: int) -> None:
        self.cuts = cuts
        self.passed_bytes = 0
        self._to = port
        self._after_bytes = after_bytes
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._listening.accept()
                threading.Thread(target=self._pass_on, args=(caller,), daemon=True).start()

    def _pass_on(self, caller: socket.socket) -> None:
        with caller, socket.create_connection(("127.0.0.1", self._to)) as api:
            back = threading.Thread(target=_copy, args=(api, caller), daemon=True)
            back.start()
            passed = 0
            with suppress(OSError):
                while data := caller.recv(65_536):
                    passed += len(data)
                    if self.cuts > 0 and passed > self._after_bytes:
                        self.cuts -= 1
                        api.shutdown(socket.SHUT_RDWR)  # closing alone does not, while it is read
                        return
                    api.sendall(data)
                    self.passed_bytes += len(data)
            with suppress(OSError):
                api.shutdown(socket.SHUT_WR)
            back.join()


def _copy(from_: socket.socket, to: socket.socket) -> None:
    with suppress(OSError):
        while data := from_.recv(65_536):
            to.sendall(data)
        to.shutdown(socket.SHUT_WR)
