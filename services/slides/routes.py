"""Routes of slides that people look at: folders of the server, single slides, their pixels."""

import re
from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from pydantic import ValidationError

from broker.errors import OrderError
from broker.settings.config import Config
from services.dependencies import (
    JsonBody,
    OrderingCaller,
    ReadingCaller,
    Settings,
    Store,
    Viewer,
    may_read,
)
from services.requests import order_query
from services.slides import images, links
from services.slides.looking import Looking, own_slide, shown_file
from services.slides.public_url import public_url
from services.slides.requested_slide import SLIDE_BODY, requested_source, require_folders
from services.slides.viewer_process.client import unavailable
from services.slides.viewer_process.http_connection import BadAnswerError
from services.slides.views import PREFIX, FolderView, RootsView, SlideView, slide_view

router = APIRouter(prefix=PREFIX, tags=["slides"])
_JSON: Final = "application/json"
_PICTURE: Final = re.compile(r"[A-Za-z][A-Za-z0-9 _-]{0,63}")
_Text = Annotated[str | None, Query(max_length=4096)]


async def _looking_to_order(
    config: Settings, store: Store, viewer: Viewer, caller: OrderingCaller
) -> Looking:
    return Looking(config, store, viewer, caller)


async def _looking_to_read(
    config: Settings, store: Store, viewer: Viewer, caller: ReadingCaller
) -> Looking:
    return Looking(config, store, viewer, caller)


OrderersLooking = Annotated[Looking, Depends(_looking_to_order)]
ReadersLooking = Annotated[Looking, Depends(_looking_to_read)]


@router.get("", response_model=RootsView | FolderView)
async def list_slides(
    request: Request,
    viewer: Viewer,
    caller: ReadingCaller,
    root: Annotated[int | None, Query(ge=0, le=10_000)] = None,
    path: _Text = None,
    cursor: _Text = None,
) -> Response:
    """The folders of the server that slides may be read from; with `root`, one folder of one.

    `path` is below the root. A page has at most 500 entries; `cursor` of it asks for the next. A
    key with `own_orders_only` is refused.
    """
    require_folders(caller)
    order_query.refuse_parameters(request.query_params, known=("root", "path", "cursor"))
    if root is None:
        if path is not None or cursor is not None:
            raise OrderError(
                "request_invalid",
                "root: path and cursor are those of one root",
                hint="add root, or leave them out to see the roots",
                field="root",
            )
        return _listed(RootsView, await viewer.get_json("/folders"))
    asked = {"path": _below_root(path or "")}
    if cursor is not None:
        asked["cursor"] = cursor
    return _listed(FolderView, await viewer.get_json(f"/folders/{root}?{urlencode(asked)}"))


@router.post("", status_code=201, response_model=SlideView, openapi_extra=SLIDE_BODY)
async def look_at_slide(looking: OrderersLooking, raw: JsonBody) -> Response:
    """A slide to look at. 201 and `ready` for one on disk; 202 and `fetching` for any other.

    `GET` says how far the fetch is. It is forgotten 24 h after its last use.
    """
    slide = await looking.look(requested_source(raw, looking.config, looking.caller))
    view = slide_view(slide, shows_labels=shows_labels(looking.config))
    status = 201
    if view.state == "fetching":
        status = 202
    headers = {"location": f"{PREFIX}/{slide.id}"}
    return Response(view.model_dump_json(), status, headers, _JSON)


@router.get("/{slide_id}", response_model=SlideView)
async def get_slide(slide_id: str, looking: ReadersLooking) -> Response:
    """One slide that is looked at: how far its fetch is, then its size and resolution."""
    slide = await looking.find(slide_id)
    view = slide_view(slide, shows_labels=shows_labels(looking.config))
    return Response(view.model_dump_json(), media_type=_JSON)


@router.delete("/{slide_id}", status_code=204)
async def forget_slide(slide_id: str, looking: OrderersLooking) -> Response:
    """Forgets a slide that is looked at. Where it is being fetched, that ends.

    Orders of it go on, for they hold its source.
    """
    await run_in_threadpool(looking.own, slide_id)
    await run_in_threadpool(looking.store.viewed_slides.delete, slide_id)
    return Response(status_code=204)


@router.post("/{slide_id}/link", status_code=201, response_model=links.LinkView)
async def link_slide(slide_id: str, request: Request, looking: OrderersLooking) -> Response:
    """A link that opens the pixels of the slide for an hour, for IIIF viewers without an API key.

    Whoever has it can look at the slide, and do nothing else.
    """
    slide = await run_in_threadpool(looking.own, slide_id)
    key = await run_in_threadpool(looking.store.viewed_slides.signing_key)
    base = public_url(request, f"{PREFIX}/{slide.id}/iiif")
    view = links.new_link(slide.id, base, key)
    return Response(view.model_dump_json(), 201, media_type=_JSON)


@router.get("/{slide_id}/iiif", include_in_schema=False)
@router.get("/{slide_id}/iiif/{rest:path}", response_class=Response)
async def get_slide_image(
    slide_id: str,
    request: Request,
    store: Store,
    viewer: Viewer,
    rest: str = "",
    token: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """The slide as an image of the IIIF Image API 3, level 1.

    `info.json` describes it. With the `token` of a link no key is needed; the addresses in the
    link's `info.json` hold it, so that any viewer goes on with it.
    """
    base = f"{PREFIX}/{slide_id}/iiif"
    asked = links.asked_with(rest, token)
    if asked.token is None:
        caller = await may_read(request)
        slide = await run_in_threadpool(own_slide, store, slide_id, caller)
        return await images.answer_iiif(request, viewer, shown_file(slide), rest, base)
    await run_in_threadpool(links.check, store, slide_id, asked.token)
    slide = await run_in_threadpool(store.viewed_slides.use, slide_id)
    base = f"{base}/{links.MARK}{asked.token}"
    response = await images.answer_iiif(request, viewer, shown_file(slide), asked.rest, base)
    response.headers.update(links.CORS)
    return response


@router.get("/{slide_id}/{name}.jpg", response_class=Response)
async def get_slide_picture(
    slide_id: str, name: str, request: Request, looking: ReadersLooking
) -> Response:
    """A further picture of the slide, such as `label.jpg`. It may show a patient's name.

    So the setting `services.page.labels` is off at first.
    """
    slide = await run_in_threadpool(looking.own, slide_id)
    if not shows_labels(looking.config):
        raise OrderError(
            "labels_not_shown",
            "a label may show a patient's name, so labels are not shown here",
            hint="the operator switches services.page.labels on",
        )
    if not _PICTURE.fullmatch(name):
        raise OrderError("not_found", "there is no such picture", hint="`associated` names them")
    target = f"/associated/{quote(name)}.jpg"
    return images.response_of(await images.ask(looking.viewer, target, shown_file(slide), request))


def shows_labels(config: Config) -> bool:
    """Return whether pictures of labels may be shown."""
    return config.services.page.labels


def _below_root(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise OrderError(
            "request_malformed",
            f"path: {path[:200]!r} is no path below the root",
            hint="give it as the list of the folder names it, without ..",
            field="path",
        )
    return path


def _listed(view: type[RootsView | FolderView], document: dict[str, Any]) -> Response:
    """Return a list of the viewer's, checked. Raise `TemporaryError`."""
    try:
        listed = view.model_validate(document)
    except ValidationError:
        raise unavailable(BadAnswerError("it is no list of a folder")) from None
    return Response(listed.model_dump_json(), media_type=_JSON)
