"""Routes of the page for people: `/`, and its files below `/page/VERSION/`. They need no key.

The version is a digest of all files, so a browser keeps a file for ever and never mixes two
versions; `/` itself is asked for each time.
"""

from typing import Final, cast

from fastapi import APIRouter, Request
from fastapi.responses import Response

from broker.errors import OrderError
from services.dependencies import Settings
from services.page.files import PageFile, PageFiles
from services.page.headers import page_headers

FOR_EVER: Final = "public, max-age=31536000, immutable"

router = APIRouter(include_in_schema=False)


@router.get("/")
async def show_page(request: Request, config: Settings) -> Response:
    """Return the page."""
    headers = page_headers(config.services.page.frame_ancestors)
    return _answer(_files_of(request).index, request, {**headers, "cache-control": "no-store"})


@router.get("/page/{version}/{name:path}")
async def get_asset(version: str, name: str, request: Request, config: Settings) -> Response:
    """Return a file of the page. Raise `OrderError("not_found")`."""
    files = _files_of(request)
    file = files.assets.get(name)
    if version != files.version or file is None:
        raise OrderError(
            "not_found",
            f"this version of the page has no file {name[:64]!r}",
            hint="load the page again: / names the files of the version that is served now",
        )
    headers = page_headers(config.services.page.frame_ancestors)
    return _answer(file, request, {**headers, "cache-control": FOR_EVER})


def _files_of(request: Request) -> PageFiles:
    return cast(PageFiles, request.app.state.page_files)


def _answer(file: PageFile, request: Request, headers: dict[str, str]) -> Response:
    """Return the file, compressed where the browser takes that."""
    content = file.content
    headers["content-type"] = file.media_type
    if file.compressed is not None:
        headers["vary"] = "Accept-Encoding"
        accepted = request.headers.get("accept-encoding", "").split(",")
        if any(one.strip().lower() in ("gzip", "*") for one in accepted):
            content = file.compressed
            headers["content-encoding"] = "gzip"
    return Response(content, headers=headers)
