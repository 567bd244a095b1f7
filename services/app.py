"""The front desk as one ASGI application. Knows every kind of request, and does no work itself."""

from fastapi import Depends, FastAPI
from fastapi.responses import JSONResponse

from broker.file_storage import open_storage
from broker.order_store import OrderStore
from broker.settings.config import Config
from services import openapi
from services.auth import Gate
from services.responses import problems
from services.routes import actions, algorithms, health, metrics, orders, queues, results


def create_app(config: Config, store: OrderStore) -> FastAPI:
    """The API on this store. Opens nothing until it is asked something. Raises `ConfigError`."""
    app = openapi.SlidelaneApi(
        title=openapi.TITLE,
        description=openapi.DESCRIPTION,
        version="1",
        # The pages that FastAPI offers load their scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,  # served below, to those who may read
        redirect_slashes=False,
        responses=openapi.RESPONSES,
        generate_unique_id_function=lambda route: route.name,
    )
    gate = Gate(config.services.keys)
    app.include_router(orders.routes(config, store, gate))
    app.include_router(actions.routes(store, gate))
    app.include_router(results.routes(open_storage(config.broker), store, gate))
    app.include_router(algorithms.routes(store, gate))
    app.include_router(queues.routes(store, gate))
    app.include_router(metrics.routes(store, gate))
    app.include_router(health.routes(store))

    @app.get("/openapi.json", include_in_schema=False, dependencies=[Depends(gate.read)])
    def describe() -> JSONResponse:
        """The API's own description."""
        return JSONResponse(app.openapi())

    problems.install(app)
    return app
