"""A viewer that answers over a real socket, and slides for it."""

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote

from broker.settings.config import BrokerSettings, Config, SlidesSettings, WorkerSettings
from broker.settings.viewer import ViewerSettings, viewer_socket
from worker.viewer.listener import listening
from worker.viewer.server import server

WAIT_S = 60.0


@dataclass(frozen=True)
class Answer:
    """An answer of the viewer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of the problem that it is."""
        assert self.headers["content-type"] == "application/problem+json", self
        assert self.json["status"] == self.status
        return str(self.json["code"])


class UnixConnection(HTTPConnection):
    """An HTTP connection over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("viewer", timeout=WAIT_S)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(WAIT_S)
        self.sock.connect(str(self._path))


@dataclass(frozen=True)
class Viewer:
    """A viewer whose socket is at `path`."""

    path: Path
    headers: Mapping[str, str] = field(default_factory=dict)

    def get(
        self,
        address: str,
        slide: Path | None = None,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask for an address, of a slide where one is given."""
        sent = {**self.headers, **(headers or {})}
        if slide is not None:
            sent["Slide-Path"] = quote(str(slide))
        connection = UnixConnection(self.path)
        try:
            connection.request(method, address, headers=sent)
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, named, answer.read())
        finally:
            connection.close()

    def image(self, slide: Path, region: str, size: str, rest: str = "0/default.jpg") -> Answer:
        """Ask for a region of a slide at a size."""
        return self.get(
            f"/iiif/{quote(region, safe=',:')}/{quote(size, safe=',:!^')}/{rest}", slide
        )


def viewer_config(data: Path, *roots: Path, **viewer: Any) -> Config:
    """Return settings with these folders of slides, and these of the viewer."""
    return Config(
        broker=BrokerSettings(data=data),
        worker=WorkerSettings(
            threads=2,
            slides=SlidesSettings(roots=roots),
            viewer=ViewerSettings(**viewer),
        ),
    )


@contextmanager
def running_viewer(config: Config) -> Iterator[Viewer]:
    """Run a viewer in a thread of this process."""
    with listening(config) as listener:
        running = server(config)
        thread = Thread(target=running.run, args=([listener],), name="viewer")
        thread.start()
        try:
            yield Viewer(viewer_socket(config.broker.data))
        finally:
            running.should_exit = True
            thread.join(WAIT_S)
            assert not thread.is_alive()
