"""Builds the API as one ASGI application from its routes."""

from fastapi import Depends
from fastapi.responses import JSONResponse

from broker.file_storage import open_storage
from broker.order_store import OrderStore
from broker.settings.config import Config
from services import openapi
from services.api_keys import ApiKeys
from services.auth import ApiKeyAuth
from services.responses import problems
from services.routes import algorithms, health, metrics, orders, queues, results


def create_app(config: Config, store: OrderStore) -> openapi.SlidelaneApi:
    """Return the API on this store, without connecting to Redis yet. Raise `ConfigError`."""
    app = openapi.SlidelaneApi(
        title=openapi.TITLE,
        description=openapi.DESCRIPTION,
        version="1",
        # The documentation pages of FastAPI load scripts from other sites.
        docs_url=None,
        redoc_url=None,
        # Served below, to callers that may read.
        openapi_url=None,
        redirect_slashes=False,
        responses=openapi.RESPONSES,
        generate_unique_id_function=lambda route: route.name,
    )
    keys = ApiKeys(config.services.keys, config.services.keys_file)
    auth = ApiKeyAuth(keys, store)
    app.include_router(orders.routes(config, store, auth))
    app.include_router(results.routes(open_storage(config.broker), store, auth))
    app.include_router(algorithms.routes(store, auth))
    app.include_router(queues.routes(store, auth))
    app.include_router(metrics.routes(store, auth))
    app.include_router(health.routes(store, keys))

    @app.get("/openapi.json", include_in_schema=False, dependencies=[Depends(auth.read)])
    def describe() -> JSONResponse:
        """Return the OpenAPI document."""
        return JSONResponse(app.openapi())

    problems.install(app)
    return app
