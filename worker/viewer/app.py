"""The addresses of the viewer. Each request names its slide; nothing is remembered of callers."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from broker.errors import OrderError, SlidelaneError, TemporaryError
from worker.slide_cache.local_slide import STAT, LocalSlide
from worker.viewer import iiif, problems
from worker.viewer.folders import SlideFolders
from worker.viewer.slides.allowed_slides import DIGEST_HEADER, HEADER, AllowedSlides
from worker.viewer.slides.open_slides import OpenSlide, OpenSlides
from worker.viewer.slides.tile_cache import EncodedTiles
from worker.viewer.tile_questions import read_question

_TILE_CACHE_CONTROL: Final = "private, max-age=86400, immutable"
_CHECKED_CACHE_CONTROL: Final = "private, no-cache"
_JPEG: Final = "image/jpeg"
_CLIENT_GONE: Final = 499
_MOST_ID_CHARS: Final = 2000


@dataclass(frozen=True, slots=True)
class ViewerParts:
    """What the addresses work with. A slide that nobody looked at for `idle_s` is closed."""

    slides: AllowedSlides
    folders: SlideFolders
    open_slides: OpenSlides
    tiles: EncodedTiles
    idle_s: float


class Viewer:
    """Answers the requests."""

    def __init__(self, parts: ViewerParts) -> None:
        self._parts = parts

    def application(self) -> Starlette:
        """Return the ASGI application."""
        return Starlette(
            routes=[
                Route("/healthz", self.health),
                Route("/folders", self.roots),
                Route("/folders/{root:int}", self.folder),
                Route("/slide", self.slide),
                Route("/digest", self.digest),
                Route("/tiles", self.tiles, methods=["POST"]),
                Route("/associated/{name}.jpg", self.associated),
                Route("/iiif", self.base),
                Route("/iiif/", self.base),
                Route("/iiif/info.json", self.info),
                Route("/iiif/{region}/{size}/{rotation}/{quality}.{format}", self.image),
            ],
            exception_handlers={
                SlidelaneError: problems.handle_fault,
                HTTPException: problems.handle_no_route,
                Exception: problems.handle_bug,
            },
            lifespan=self._lifespan,
        )

    async def health(self, _request: Request) -> Response:
        """Answer that the viewer runs."""
        return JSONResponse({"status": "ok", "open_slides": len(self._parts.open_slides.digests)})

    async def roots(self, _request: Request) -> Response:
        """Answer the folders below which slides may be looked for."""
        return _json(self._parts.folders.roots())

    async def folder(self, request: Request) -> Response:
        """Answer one page of one folder."""
        query = request.query_params
        page = await run_in_threadpool(
            self._parts.folders.page,
            request.path_params["root"],
            query.get("path", ""),
            query.get("cursor"),
        )
        return _json(page)

    async def slide(self, request: Request) -> Response:
        """Answer what a slide is, without its pixels."""
        slide = await self._slide(request)
        async with self._parts.open_slides.use(slide) as opened:
            return _json(_description(slide, opened))

    async def digest(self, request: Request) -> Response:
        """Answer which slide lies there, without opening it."""
        return _json({"digest": (await self._slide(request)).digest})

    async def tiles(self, request: Request) -> Response:
        """Answer how many tiles an algorithm would read of the slide; nothing is changed."""
        question = await read_question(request)
        slide = await self._slide(request)
        async with self._parts.open_slides.use(slide) as opened:
            frame = opened.viewed.frame
        return _json(await run_in_threadpool(question.answer, frame))

    async def associated(self, request: Request) -> Response:
        """Answer the label, the macro image or the thumbnail of a slide."""
        slide = await self._slide(request)
        name = request.path_params["name"]
        etag = _etag(slide, f"associated/{name}")
        if _is_known(request, etag):
            return _not_modified(slide, etag)
        async with self._parts.open_slides.use(slide) as opened:
            return _image(await opened.associated_jpeg(name), slide, etag)

    async def base(self, _request: Request) -> Response:
        """Send whoever asks for the image itself to its description, as IIIF wants it."""
        return RedirectResponse("/iiif/info.json", 303)

    async def info(self, request: Request) -> Response:
        """Answer info.json; the query's `id` is the image's public URI."""
        identifier = request.query_params.get("id", "")
        if not identifier or len(identifier) > _MOST_ID_CHARS:
            raise OrderError(
                "request_malformed",
                "the query has no id",
                hint="id = the URI below which callers find the image",
                field="id",
            )
        slide = await self._slide(request)
        async with self._parts.open_slides.use(slide) as opened:
            document = iiif.info(identifier, opened.viewed.frame)
        headers = {"Cache-Control": _CHECKED_CACHE_CONTROL, "Link": iiif.PROFILE_LINK}
        return JSONResponse(document, 200, headers, iiif.MEDIA_TYPE)

    async def image(self, request: Request) -> Response:
        """Answer a region of the slide at a size, as JPEG."""
        part = request.path_params
        iiif.check_form(part["rotation"], part["quality"], part["format"])
        slide = await self._slide(request)
        etag = _etag(slide, f"{part['region']}/{part['size']}")
        if _is_known(request, etag):
            return _not_modified(slide, etag)
        tile = self._parts.tiles.get(etag)
        if tile is None:
            try:
                tile = await self._tile(request, slide)
            except TemporaryError as error:
                if error.code != "out_of_memory":
                    raise
                # The system ended the slide's process, perhaps while nobody looked at it.
                tile = await self._tile(request, slide)
        if tile is None:
            return Response(status_code=_CLIENT_GONE)
        self._parts.tiles.put(etag, tile)
        return _image(tile, slide, etag)

    async def _tile(self, request: Request, slide: LocalSlide) -> bytes | None:
        """Return the picture that is asked for, None where the caller has left meanwhile."""
        part = request.path_params
        async with self._parts.open_slides.use(slide) as opened:
            wanted = iiif.parse(part["region"], part["size"], opened.viewed.frame)
            async with opened.turn(wanted):
                if await request.is_disconnected():
                    return None
                return await opened.jpeg(wanted)

    async def _slide(self, request: Request) -> LocalSlide:
        """Return the slide that the request names. Raise `OrderError`."""
        headers = request.headers
        return await run_in_threadpool(
            self._parts.slides.find, headers.get(HEADER), headers.get(DIGEST_HEADER)
        )

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        """Close slides that nobody looks at while the server runs, and all of them at its end."""
        open_slides = self._parts.open_slides
        closing = asyncio.create_task(open_slides.close_idle(self._parts.idle_s))
        try:
            yield
        finally:
            closing.cancel()
            with suppress(asyncio.CancelledError):
                await closing
            await open_slides.close()


def _description(slide: LocalSlide, opened: OpenSlide) -> dict[str, Any]:
    viewed = opened.viewed
    frame = viewed.frame
    levels = []
    for width, height in viewed.description.levels:
        downsample = (frame.width / width + frame.height / height) / 2
        levels.append({"width": width, "height": height, "downsample": round(downsample, 4)})
    return {
        "width": frame.width,
        "height": frame.height,
        "mpp_x": frame.mpp_x,
        "mpp_y": frame.mpp_y,
        "mpp_source": frame.mpp_source,
        "vendor": viewed.description.vendor,
        "digest": slide.digest,
        "bytes": slide.bytes,
        "levels": levels,
        "associated": list(viewed.description.associated),
    }


def _etag(slide: LocalSlide, picture: str) -> str:
    """Return the name of these bytes: the same slide and parameters give the same ones."""
    text = f"{slide.digest}\0{picture}".encode(errors="surrogatepass")
    return f'"{hashlib.sha256(text).hexdigest()[:32]}"'


def _is_known(request: Request, etag: str) -> bool:
    """Return whether the caller has the picture already (RFC 9110, 13.1.2)."""
    return etag in request.headers.get("If-None-Match", "")


def _not_modified(slide: LocalSlide, etag: str) -> Response:
    return Response(status_code=304, headers=_kept(slide, etag))


def _image(content: bytes, slide: LocalSlide, etag: str) -> Response:
    return Response(content, 200, _kept(slide, etag), _JPEG)


def _kept(slide: LocalSlide, etag: str) -> dict[str, str]:
    """Return the headers that say how long a browser may show the picture without asking.

    What lies in the slide cache never changes. A file that is used where it lies may be replaced,
    and tiles of two slides must not stand beside one another.
    """
    cache_control = _TILE_CACHE_CONTROL
    if slide.digest.startswith(STAT):
        cache_control = _CHECKED_CACHE_CONTROL
    return {"ETag": etag, "Cache-Control": cache_control}


def _json(content: dict[str, Any]) -> Response:
    return JSONResponse(content, 200, {"Cache-Control": _CHECKED_CACHE_CONTROL})
