"""A client of Server-Sent Events over a plain socket, and a server in a thread to talk to."""

import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from broker.settings.config import Config
from services.openapi import SlidelaneApi
from services.server import ApiServer


@dataclass
class Event:
    """One block of a stream; one that is no event has no name."""

    fields: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the event; empty where it is none."""
        return self.fields.get("event", "")

    @property
    def id(self) -> str:
        """The position after it."""
        return self.fields.get("id", "")

    @property
    def data(self) -> dict[str, Any]:
        """The data, which is JSON in all of ours."""
        return dict(json.loads(self.fields["data"]))


class Stream:
    """An open stream. Reading raises `TimeoutError` where nothing comes."""

    def __init__(self, port: int, path: str, headers: Mapping[str, str] | None = None) -> None:
        self.wire = socket.create_connection(("127.0.0.1", port), timeout=60)
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.wire.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self._file = self.wire.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        self.headers: dict[str, str] = {}
        while line := self._file.readline().decode().strip():
            name, _, value = line.partition(":")
            self.headers[name.lower()] = value.strip()
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cut the connection, as a tab that is closed does."""
        self._file.close()
        self.wire.close()

    def blocks(self) -> Iterator[Event]:
        """Yield each block until the stream ends."""
        while True:
            while b"\n\n" in self._buffer:
                block, _, self._buffer = self._buffer.partition(b"\n\n")
                yield _parsed(block.decode())
            size = int(self._file.readline().strip() or b"0", 16)
            if size == 0:
                return
            self._buffer += self._file.read(size)
            self._file.readline()

    def events(self) -> Iterator[Event]:
        """Yield each block that is an event."""
        for block in self.blocks():
            if block.name:
                yield block

    def until(self, count: int) -> list[Event]:
        """Return the next events, this many."""
        found: list[Event] = []
        for event in self.events():
            found.append(event)
            if len(found) == count:
                break
        return found


def _parsed(block: str) -> Event:
    event = Event()
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        event.fields[name or "comment"] = value.removeprefix(" ")
    return event


class Running:
    """An API behind a real server, in a thread."""

    def __init__(self, app: SlidelaneApi, config: Config) -> None:
        services = config.services.model_copy(update={"host": "127.0.0.1", "port": 0})
        self.app = app
        self._server = ApiServer(app, services, app.state.feed)
        self._listener = self._server.listen()
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._listener]}
        )
        self._thread.start()

    def stream(self, path: str, **headers: str) -> Stream:
        """Open a stream; `_` in the name of a header is `-`."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return Stream(self.port, path, sent)

    def stop(self) -> float:
        """Stop the server, and return how many seconds it took."""
        began = time.monotonic()
        self._server.should_exit = True
        self._thread.join(timeout=60)
        assert not self._thread.is_alive()
        return time.monotonic() - began


@contextmanager
def serving(app: SlidelaneApi, config: Config) -> Iterator[Running]:
    """Run the API on a free port until the block ends."""
    running = Running(app, config)
    try:
        yield running
    finally:
        running.stop()
