"""Reads the body of `POST /v1/slides`: which slide somebody wants to look at."""

import os
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote, urlsplit

from pydantic import Discriminator, Field, Tag, ValidationError

from broker.errors import OrderError
from broker.orders.fields import RequestModel
from broker.orders.source import CaseSource, PathSource, Source, UrlSource
from broker.settings.config import Config
from services.auth import Caller
from services.requests import json_body
from services.requests.order_validation import MAX_FAULTS, fault_at
from services.responses.problems import ManyFaultsError

_TAGS: Final = {"source": 3, "root_path": 2}
"""Where the field begins in a location that pydantic states: behind the names of its choices."""


SLIDE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/SlideRequest"},
                "examples": {
                    "listed": {
                        "summary": "as the list of a folder names it",
                        "value": {"source": {"type": "path", "root": 0, "path": "ward-7/a.svs"}},
                    },
                    "url": {
                        "summary": "fetched first",
                        "value": {"source": {"type": "url", "url": "https://example.org/a.svs"}},
                    },
                },
            }
        },
    }
}


class RootPathSource(RequestModel):
    """A slide below one of `worker.slides.roots`, as the list of its folder names it."""

    type: Literal["path"]
    root: Annotated[int, Field(ge=0, le=10_000, description="number of the folder in the roots")]
    path: Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]+$")]


def _form(value: Any) -> str:
    """Return whether a path is given below a root, or the source is one that an order takes."""
    if isinstance(value, RootPathSource) or (isinstance(value, dict) and "root" in value):
        return "root_path"
    return "source"


class SlideRequest(RequestModel):
    """A slide that somebody wants to look at."""

    source: Annotated[
        Annotated[Source, Tag("source")] | Annotated[RootPathSource, Tag("root_path")],
        Discriminator(_form),
    ]


def require_folders(caller: Caller) -> None:
    """Raise `OrderError("key_refused")` for a key that must not see what the folders hold."""
    if caller.own_orders_only:
        raise OrderError(
            "key_refused",
            f"the key {caller.name!r} sees its own orders only, and no folders of the server",
            hint="send the slide in, or give its URL; the operator lifts own_orders_only",
        )


def requested_source(raw: bytes, config: Config, caller: Caller) -> Source:
    """Return the source of a body `{"source": …}`, a path below a root as an absolute one.

    Raise `OrderError`.
    """
    json_body.parse(raw)
    try:
        source = SlideRequest.model_validate_json(raw).source
    except ValidationError as error:
        details = error.errors(include_url=False)
    else:
        if isinstance(source, RootPathSource):
            require_folders(caller)
            return _below_root(source, config)
        return source
    faults = []
    for detail in details[:MAX_FAULTS]:
        loc = detail["loc"]
        if loc[:1] == ("source",) and len(loc) > 1:
            loc = loc[:1] + loc[_TAGS[str(loc[1])] :]
        faults.append(fault_at(loc, detail))
    raise ManyFaultsError(faults)


def shown_name(source: Source) -> str:
    """Return what people call the slide of a source; empty where nothing is known to be a name.

    The last part of a URL's path may be a secret where it does not look like a file.
    """
    if isinstance(source, PathSource):
        return PurePosixPath(source.path).name
    if isinstance(source, CaseSource):
        return source.slide or source.case_id
    if isinstance(source, UrlSource):
        address = source.url or source.zip_url
        if address is not None:
            path = PurePosixPath(unquote(urlsplit(address.get_secret_value()).path))
            if path.suffix:
                return path.name[:255]
    return ""


def _below_root(source: RootPathSource, config: Config) -> PathSource:
    roots = config.worker.slides.roots
    if source.root >= len(roots):
        raise OrderError(
            "path_not_allowed",
            f"source.root: there is no folder {source.root}",
            hint="GET /v1/slides lists the folders",
            field="source.root",
        )
    path = source.path
    if path.startswith("/") or ".." in path.split("/"):
        raise OrderError(
            "path_not_allowed",
            f"source.path: {path[:200]!r} does not lie below the folder",
            hint="give it as GET /v1/slides lists it: below the root, without ..",
            field="source.path",
        )
    folder = roots[source.root].absolute()
    try:
        return PathSource(type="path", path=os.path.normpath(folder / path))
    except ValidationError:
        raise OrderError(
            "path_not_allowed",
            f"source.path: {path[:200]!r} is too long, or holds what no path holds",
            hint="give it as GET /v1/slides lists it; the whole path has at most 4096 characters",
            field="source.path",
        ) from None
