"""Serves the middle of the page alone: the worker's viewer, tiles of findings, the page's files.

Everything is what the service itself answers with, but orders and keys: the policy of the page, the
viewer's application, the archive of findings.
"""

import asyncio
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Final
from urllib.parse import quote

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from broker.file_storage.folder import FolderStorage
from broker.orders.result_files import FINDINGS_JSON, FINDINGS_PMTILES
from broker.settings.config import BrokerSettings, Config, SlidesSettings, WorkerSettings
from services.page.files import FOLDER, PageFiles
from services.page.headers import page_headers
from services.responses.findings_archive import FindingsArchives
from worker.viewer.server import application

_WEB: Final = Path(__file__).parent / "web"
_END_S: Final = 30.0
_VERSION: Final = "version"


@dataclass
class StageSite:
    """What is shown: slides and folders of results by name. `failing`: names of slides and of
    results that answer 503 as long as they are in it."""

    slides: Mapping[str, Path]
    results: Mapping[str, Path]
    address: str = ""
    failing: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    """The paths that were asked for."""


@contextmanager
def stage_site(
    data: Path, slides: Mapping[str, Path], results: Mapping[str, Path]
) -> Iterator[StageSite]:
    """Serve on a free port of this machine until the context ends. `data`: a private folder."""
    site = StageSite(slides, results)
    listener = socket.create_server(("127.0.0.1", 0))
    # As the service does: asyncio sets TCP_NODELAY only on sockets that it made itself.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    site.address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(
        uvicorn.Config(_Site(site, data), log_level="warning", access_log=False, ws="none")
    )
    thread = Thread(target=server.run, args=([listener],), name="stage")
    thread.start()
    try:
        yield site
    finally:
        server.should_exit = True
        thread.join(_END_S)
        listener.close()


class _Site:
    """Answers the requests."""

    def __init__(self, site: StageSite, data: Path) -> None:
        self._site = site
        folders = tuple({path.parent for path in site.slides.values()})
        self._viewer: ASGIApp = application(
            Config(
                broker=BrokerSettings(data=data),
                worker=WorkerSettings(threads=2, slides=SlidesSettings(roots=folders)),
            )
        )
        self._archives = {
            name: FindingsArchives(FolderStorage(folder, is_mounted=False))
            for name, folder in site.results.items()
        }
        self._files = PageFiles.read(FOLDER)

        self._routes = Starlette(
            routes=[
                Route("/", self.own_file),
                Route("/page.html", self.page),
                Route("/{name}.{suffix}", self.own_file),
                Route(f"/page/{_VERSION}/{{name:path}}", self.page_file),
                Route("/results/{result}/findings.json", self.document),
                Route("/results/{result}/findings/{z:int}/{x:int}/{y:int}", self.tile),
                Mount("/slides/{slide}", self.slide),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; the viewer alone has something to begin and to end."""
        if scope["type"] == "lifespan":
            await self._viewer(scope, receive, send)
            return
        await self._routes(scope, receive, send)

    async def own_file(self, request: Request) -> Response:
        """Return a file of the page for tests."""
        name = request.url.path.removeprefix("/") or "index.html"
        if name not in {path.name for path in _WEB.iterdir()}:
            raise HTTPException(404)
        return FileResponse(_WEB / name, headers=dict(page_headers(())))

    async def page(self, _request: Request) -> Response:
        """Return the whole page; what it asks the API for is not here."""
        content = self._files.index.content.replace(self._files.version.encode(), _VERSION.encode())
        return Response(content, media_type="text/html", headers=dict(page_headers(())))

    async def page_file(self, request: Request) -> Response:
        """Return a file of the page as the service does."""
        name = request.path_params["name"]
        file = self._files.assets.get(name)
        if file is None:
            raise HTTPException(404)
        return Response(file.content, media_type=file.media_type, headers=dict(page_headers(())))

    async def document(self, request: Request) -> Response:
        """Return findings.json of a result."""
        folder = self._site.results[request.path_params["result"]]
        return FileResponse(folder / FINDINGS_JSON)

    async def tile(self, request: Request) -> Response:
        """Return a tile of findings; 204 where it is empty."""
        result = request.path_params["result"]
        self._site.asked.append(request.url.path)
        if result in self._site.failing:
            return Response(status_code=503)
        z, x, y = (request.path_params[part] for part in "zxy")
        archive = self._archives[result]
        _, content = await asyncio.to_thread(archive.tile, FINDINGS_PMTILES, z, x, y)
        if not content:
            return Response(status_code=204)
        return Response(content, media_type="application/octet-stream")

    async def slide(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the viewer, with the slide's path in its header."""
        name = scope["path_params"]["slide"]
        path = self._site.slides.get(name)
        if path is None or name in self._site.failing:
            await Response(status_code=503)(scope, receive, send)
            return
        rest = scope["path"].removeprefix(f"/slides/{name}")
        passed = dict(scope)
        passed["path"] = rest
        passed["raw_path"] = rest.encode()
        passed["root_path"] = ""
        passed["query_string"] = f"id={self._site.address}/slides/{name}/iiif".encode()
        passed["headers"] = [
            *scope["headers"],
            (b"slide-path", quote(str(path)).encode()),
        ]
        await self._viewer(passed, receive, send)
