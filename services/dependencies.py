"""What a handler can ask FastAPI for: settings, order store, storage, keys, caller, feed, body."""

from typing import Annotated, cast

from fastapi import Depends, Request

from broker.file_storage.interface import Storage
from broker.order_store import OrderStore
from broker.settings.config import Config
from services.api_keys import ApiKeys
from services.auth import ApiKeyAuth, Caller
from services.live.feed import ChangeFeed
from services.requests import json_body
from services.responses.findings_archive import FindingsArchives
from services.slides.viewer_process.client import ViewerClient


async def config_of(request: Request) -> Config:
    """Return the settings of the application."""
    return cast(Config, request.app.state.config)


async def store_of(request: Request) -> OrderStore:
    """Return the order store of the application."""
    return cast(OrderStore, request.app.state.store)


async def storage_of(request: Request) -> Storage:
    """Return the storage of results and payloads."""
    return cast(Storage, request.app.state.storage)


async def findings_tiles_of(request: Request) -> FindingsArchives:
    """Return the reader of tiles of findings in the storage."""
    return cast(FindingsArchives, request.app.state.findings_tiles)


async def api_keys_of(request: Request) -> ApiKeys:
    """Return the API keys of the application."""
    return cast(ApiKeys, request.app.state.api_keys)


async def viewer_of(request: Request) -> ViewerClient:
    """Return what asks the viewer process."""
    return cast(ViewerClient, request.app.state.viewer)


async def may_order(request: Request) -> Caller:
    """Return a caller that may place orders. Raise `OrderError`."""
    auth = cast(ApiKeyAuth, request.app.state.auth)
    return await auth.order(request)


async def may_read(request: Request) -> Caller:
    """Return a caller that may read. Raise `OrderError`."""
    auth = cast(ApiKeyAuth, request.app.state.auth)
    return await auth.read(request)


async def may_read_or_log_in(request: Request) -> Caller | None:
    """Return a caller that may read, None for one that has yet to log in. Raise `OrderError`."""
    auth = cast(ApiKeyAuth, request.app.state.auth)
    return await auth.read_or_log_in(request)


async def auth_of(request: Request) -> ApiKeyAuth:
    """Return what checks the callers of the application."""
    return cast(ApiKeyAuth, request.app.state.auth)


async def feed_of(request: Request) -> ChangeFeed:
    """Return the feed of changes of the application."""
    return cast(ChangeFeed, request.app.state.feed)


async def may_log_in(request: Request) -> None:
    """Let everybody try to log in; where no key is configured, this machine. Raise `OrderError`."""
    auth = cast(ApiKeyAuth, request.app.state.auth)
    await auth.log_in(request)


Settings = Annotated[Config, Depends(config_of)]
Store = Annotated[OrderStore, Depends(store_of)]
ResultStorage = Annotated[Storage, Depends(storage_of)]
FindingsTiles = Annotated[FindingsArchives, Depends(findings_tiles_of)]
Keys = Annotated[ApiKeys, Depends(api_keys_of)]
Auth = Annotated[ApiKeyAuth, Depends(auth_of)]
Feed = Annotated[ChangeFeed, Depends(feed_of)]
Viewer = Annotated[ViewerClient, Depends(viewer_of)]
OrderingCaller = Annotated[Caller, Depends(may_order)]
ReadingCaller = Annotated[Caller, Depends(may_read)]
CallerOrStranger = Annotated[Caller | None, Depends(may_read_or_log_in)]


async def json_body_of(request: Request, config: Settings) -> bytes:
    """Return the body, declared as JSON, as it was sent. Raise `OrderError`."""
    return await json_body.read(request, config.services.max_body_bytes)


async def optional_json_body_of(request: Request, config: Settings) -> bytes:
    """Return the body, declared as JSON, as it was sent; empty without one. Raise `OrderError`."""
    if not json_body.is_given(request):
        return b""
    return await json_body.read(request, config.services.max_body_bytes)


JsonBody = Annotated[bytes, Depends(json_body_of)]
OptionalJsonBody = Annotated[bytes, Depends(optional_json_body_of)]
