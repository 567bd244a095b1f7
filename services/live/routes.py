"""Routes that stream what becomes of orders, as it happens."""

from collections.abc import Sequence
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from sse_starlette import EventSourceResponse

from broker.errors import OrderError
from broker.order_store import OrderStore
from broker.order_store.errors import OrderNotFoundError
from services.dependencies import Auth, Feed, ReadingCaller, Store
from services.live.feed import Follower
from services.live.stream import EventStream, wanted_orders
from services.requests.order_query import refuse_parameters

MOST_ORDERS: Final = 100
_LAST: Final[dict[str, Any]] = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "id of the last event that arrived; browsers send it when they connect again. "
    "`last_event_id` in the query is the same for a stream that is opened anew",
}
_LAST_IN_QUERY: Final = {**_LAST, "name": "last_event_id", "in": "query"}
_ORDERS: Final[dict[str, Any]] = {
    "name": "orders",
    "in": "query",
    "required": True,
    "schema": {"type": "string"},
    "description": f"ids of at most {MOST_ORDERS} orders, with commas between them; or `all`",
}

router = APIRouter(prefix="/v1", tags=["events"])


async def _stream(
    request: Request,
    caller: ReadingCaller,
    store: Store,
    feed: Feed,
    auth: Auth,
    orders: Sequence[str] | None,
) -> EventSourceResponse:
    """Follow these orders of the caller, None = all. Raise `SlidelaneError`."""
    creator = None
    if caller.own_orders_only:
        creator = caller.name
    wanted = None
    if orders is not None:
        await run_in_threadpool(_check_orders, store, orders, creator)
        wanted = frozenset(orders)
    follower = Follower(wanted, creator=creator)
    await run_in_threadpool(feed.follow, follower)
    # A browser that connects again repeats the query, and its header is newer.
    last = request.headers.get("last-event-id") or request.query_params.get("last_event_id")
    return EventStream(request, auth, store, feed, follower).response(last)


@router.get(
    "/events",
    response_class=EventSourceResponse,
    openapi_extra={"parameters": [_ORDERS, _LAST, _LAST_IN_QUERY]},
)
async def stream_events(
    request: Request, caller: ReadingCaller, store: Store, feed: Feed, auth: Auth
) -> EventSourceResponse:
    """What becomes of orders, as it happens: Server-Sent Events.

    With `Last-Event-ID` the stream begins with what happened after that event.
    """
    refuse_parameters(request.query_params, known=("orders", "last_event_id"))
    orders = wanted_orders(request.query_params.get("orders", ""))
    if orders is not None and not 0 < len(orders) <= MOST_ORDERS:
        raise OrderError(
            "request_invalid",
            f"orders names `all`, or 1 to {MOST_ORDERS} orders",
            hint="send ?orders=ID,ID or ?orders=all",
            field="orders",
        )
    return await _stream(request, caller, store, feed, auth, orders)


@router.get(
    "/orders/{order_id}/events",
    response_class=EventSourceResponse,
    openapi_extra={"parameters": [_LAST, _LAST_IN_QUERY]},
)
async def stream_order_events(
    order_id: str,
    request: Request,
    caller: ReadingCaller,
    store: Store,
    feed: Feed,
    auth: Auth,
) -> EventSourceResponse:
    """What becomes of one order, as it happens; the same as `/v1/events?orders=ID`."""
    refuse_parameters(request.query_params, known=("last_event_id",))
    return await _stream(request, caller, store, feed, auth, [order_id])


def _check_orders(store: OrderStore, orders: Sequence[str], creator: str | None) -> None:
    """Raise `OrderNotFoundError` for an order that is not there, or is not the caller's."""
    for order_id in orders:
        placed_by = store.created_by(order_id)
        if creator is not None and placed_by != creator:
            raise OrderNotFoundError(order_id)
