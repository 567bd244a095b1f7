"""Builds the API as one ASGI application from its routes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from broker.file_storage import open_storage
from broker.order_store import OrderStore
from broker.settings.config import Config
from broker.uploads import Uploads
from services import openapi
from services.api_keys import ApiKeys
from services.auth import ApiKeyAuth
from services.kue import routes as kue
from services.live import routes as live
from services.live.feed import ChangeFeed
from services.page import routes as page
from services.page.files import PageFiles
from services.requests.origin_check import OriginCheck
from services.responses import problems
from services.responses.findings_archive import FindingsArchives
from services.responses.head_requests import HeadRequests
from services.routes import (
    algorithms,
    api_docs,
    destinations,
    findings,
    hosting,
    jobs,
    orders,
    results,
    schemas,
    techcyte,
    templates,
)
from services.routes.monitoring import health, metrics, queues, system
from services.session import routes as session
from services.session.tries import LoginTries
from services.slides import order_images
from services.slides import routes as slides
from services.slides.viewer_process.client import ViewerClient
from services.uploads import routes as uploads
from services.uploads.protocol import Tus


@asynccontextmanager
async def _while_served(app: FastAPI) -> AsyncIterator[None]:
    """Close the connections to the viewer when the API ends."""
    yield
    await app.state.viewer.close()


ROUTERS = (
    page.router,
    session.router,
    orders.csv_router,
    live.router,
    orders.router,
    # Before the results, whose addresses end in any name.
    order_images.router,
    results.router,
    findings.router,
    algorithms.router,
    destinations.router,
    hosting.router,
    jobs.router,
    schemas.router,
    slides.router,
    templates.router,
    techcyte.router,
    kue.router,
    kue.pages,
    uploads.router,
    queues.router,
    system.router,
    metrics.router,
    health.router,
    api_docs.router,
)
"""All addresses of the API. The first that fits an address answers."""


def create_app(config: Config, store: OrderStore) -> openapi.SlidelaneApi:
    """Return the API on this store, without connecting to Redis yet. Raise `ConfigError`."""
    app = openapi.SlidelaneApi(
        title=openapi.TITLE,
        description=openapi.DESCRIPTION,
        version="1",
        # The pages of FastAPI load scripts from other sites; `api_docs` has one that does not.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        responses=openapi.RESPONSES,
        generate_unique_id_function=lambda route: route.name,
        lifespan=_while_served,
    )
    keys = ApiKeys(config.services.keys, config.services.keys_file)
    app.state.config = config
    app.state.store = store
    app.state.storage = open_storage(config.broker)
    app.state.findings_tiles = FindingsArchives(app.state.storage)
    app.state.api_keys = keys
    app.state.viewer = ViewerClient(config.broker)
    app.state.auth = ApiKeyAuth(keys, store)
    app.state.feed = ChangeFeed(store, max(1, config.services.max_connections // 2))
    app.state.login_tries = LoginTries()
    app.state.uploads = Uploads(config.broker.uploads_folder)
    app.state.page_files = PageFiles.read()
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(Tus)
    app.needs_key = keys.are_configured
    app.add_middleware(OriginCheck, needs_key=app.needs_key)
    app.add_middleware(HeadRequests)
    problems.install(app)
    app.state.folders = config.broker.folders
    return app
