"""Passes requests for pixels on to the viewer, and its answers back.

Of an answer only the headers below are kept: neither those of one connection alone, nor any that
a damaged slide could bring in.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from broker.errors import OrderError
from services.slides.public_url import public_url
from services.slides.viewer_process.client import ViewerClient
from services.slides.viewer_process.http_connection import ViewerAnswer

INFO: Final = "info.json"
_KEPT: Final = ("cache-control", "content-type", "etag", "last-modified", "link", "vary")
_IMAGE: Final = re.compile(r"[^/]{1,80}/[^/]{1,80}/[^/]{1,24}/[a-z]{1,16}\.[a-z0-9]{1,8}")
_SENT: Final = ("accept", "if-none-match")
_MAX_HEADER: Final = 1000
_GONE: Final = frozenset({"input_not_found", "path_not_allowed", "slide_gone"})


@dataclass(frozen=True, slots=True)
class SlideFile:
    """A slide on the viewer's disk. `digest`: which one it was; empty where nobody noted it."""

    path: str
    digest: str = ""


async def answer_iiif(
    request: Request, viewer: ViewerClient, slide: SlideFile, rest: str, base: str
) -> Response:
    """Return what the viewer answers to a request of the IIIF Image API.

    `rest`: what follows the image's base URI in the request. `base`: the path of that URI. Raise
    `OrderError`, `TemporaryError`.
    """
    if not rest:
        return RedirectResponse(f"{base}/{INFO}", 303)
    if rest == INFO:
        target = f"/iiif/{INFO}?id={quote(public_url(request, base), safe='')}"
    elif _IMAGE.fullmatch(rest):
        target = f"/iiif/{quote(rest, safe='/,:!^')}"
    else:
        raise OrderError(
            "not_found",
            "there is no such image",
            hint="{region}/{size}/{rotation}/{quality}.{format} of the IIIF Image API 3",
        )
    return response_of(await ask(viewer, target, slide, request))


async def ask(
    viewer: ViewerClient, target: str, slide: SlideFile, request: Request
) -> ViewerAnswer:
    """Return the viewer's answer about a slide that was there before.

    Raise `OrderError("slide_gone")` where it is there no longer, or another one lies in its place,
    and as `ViewerClient.get`.
    """
    headers = {
        name: request.headers[name][:_MAX_HEADER] for name in _SENT if name in request.headers
    }
    try:
        return await viewer.get(target, slide.path, headers, digest=slide.digest)
    except OrderError as error:
        if error.code not in _GONE:
            raise
        raise slide_gone() from None


def slide_gone() -> OrderError:
    """Return the problem of a slide that was there and is no longer."""
    return OrderError(
        "slide_gone",
        "the slide is no longer on the viewer's disk, or its file has changed",
        hint="look at its source again with POST /v1/slides, or order it again to have it fetched",
    )


def response_of(answer: ViewerAnswer, more: Mapping[str, str] | None = None) -> Response:
    """Return the viewer's answer as the API gives it, with `more` headers."""
    headers = {name: answer.headers[name] for name in _KEPT if name in answer.headers}
    return Response(answer.body, answer.status, headers | dict(more or {}))
