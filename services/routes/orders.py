"""Routes to place, list and read orders, and to cancel, retry or deliver one again.

A 202 means that the order is stored; workers do the rest.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import PlainTextResponse, Response, StreamingResponse
from pydantic import TypeAdapter

from broker.errors import OrderError, TemporaryError
from broker.order_store import OrderStore
from broker.orders.destinations import WebhookDestination
from broker.orders.order import Order, UnreadableOrder
from broker.orders.request import Destination
from broker.queue.celery_app import enqueue
from services import openapi
from services.dependencies import (
    JsonBody,
    OptionalJsonBody,
    OrderingCaller,
    ReadingCaller,
    Settings,
    Store,
    may_read,
)
from services.live.waiting import PREFERENCE, WaitingRoute
from services.requests import batch, json_body, order_query
from services.requests.admission import check_destination_hosts
from services.requests.named_destinations import resolve
from services.requests.order_validation import new_destination
from services.requests.placement import Placement
from services.responses import order_log, orders_csv
from services.responses.accepted import accepted, current
from services.responses.views import (
    OrderView,
    entry_view,
)
from services.slides.order_sources import ChangeCheck
from services.slides.preflight.check import preflight

JSON = "application/json"


BATCH = TypeAdapter(list[batch.BatchEntry])
router = APIRouter(prefix="/v1/orders", tags=["orders"], route_class=WaitingRoute)
csv_router = APIRouter(tags=["orders"])
READ = [Depends(may_read)]
IdempotencyKey = Annotated[
    str | None,
    Header(description="1 to 255 printable ASCII characters; repeating with the same key is safe"),
]


@router.post(
    "",
    status_code=202,
    response_model=OrderView,
    openapi_extra=openapi.ORDER_BODY | {"parameters": [PREFERENCE]},
)
def place_order(
    request: Request,
    config: Settings,
    store: Store,
    caller: OrderingCaller,
    raw: JsonBody,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Place an order. Answers as soon as it is kept; follow it at `Location`.

    A list of 1 to 1000 orders is answered with 207 and what became of each, in order. With
    `validate_only=true` one order is checked, 200 says what would become of it, and nothing is
    stored.
    """
    order_query.refuse_parameters(request.query_params, known=(order_query.VALIDATE_ONLY,))
    key = None
    if idempotency_key is not None:
        key = _caller_key(idempotency_key, caller.name)
    document = json_body.parse(raw)
    viewer = request.app.state.viewer
    placement = Placement(config, store, caller, check=ChangeCheck(viewer))
    if order_query.is_validation_only(request.query_params):
        view = preflight(document, placement, viewer)
        return Response(view.model_dump_json(), media_type=JSON)
    with _outcome_unknown(has_key=key is not None):
        if isinstance(document, list):
            entries = batch.place_all(document, placement, key, request.url.path)
            content = BATCH.dump_json(entries)
            return Response(content, status_code=207, media_type=JSON)
        placed = placement.place_document(document, key)
        return accepted(store, placed.order_id, is_replay=placed.is_replay)


@router.get(
    "",
    response_model=order_query.OrdersView,
    openapi_extra=order_query.PARAMETERS,
)
def list_orders(request: Request, store: Store, caller: ReadingCaller) -> Response:
    """Orders, newest first. `next` is the cursor of the following page."""
    query = order_query.query(request.query_params)
    if order_query.asks_for_others(query, caller):
        return Response('{"orders":[],"next":null}', media_type=JSON)
    page = store.find(**query)
    orders = [entry_view(entry) for entry in page.entries]
    view = order_query.OrdersView(orders=orders, next=page.cursor)
    return Response(view.model_dump_json(), media_type=JSON)


@csv_router.get(
    "/v1/orders.csv",
    response_class=PlainTextResponse,
    openapi_extra=order_query.CSV_PARAMETERS,
)
def list_orders_as_csv(request: Request, store: Store, caller: ReadingCaller) -> Response:
    """Orders as a table, newest first: one row for each scan, with labels and figures."""
    query = order_query.query(request.query_params, order_query.CSV_LIMITS)
    entries: list[Order | UnreadableOrder] = []
    if not order_query.asks_for_others(query, caller):
        entries = list(islice(_all_entries(store, query), query["limit"]))
    headers = {"content-disposition": 'attachment; filename="orders.csv"'}
    return Response(orders_csv.table(entries), 200, headers, "text/csv")


@router.get(
    "/{order_id}",
    response_model=OrderView,
    dependencies=READ,
    openapi_extra={"parameters": [PREFERENCE]},
)
def get_order(order_id: str, request: Request, store: Store) -> Response:
    """One order. With `If-None-Match`, 304 while nothing has changed."""
    return _unless_unchanged(current(store, order_id), request)


@router.get(
    "/{order_id}/log",
    response_class=PlainTextResponse,
    openapi_extra=order_query.LOG_PARAMETERS,
    dependencies=READ,
)
def get_log(order_id: str, request: Request, store: Store) -> Response:
    """What happened to the order, one line per thing; with `tail`, only the last lines.

    With `follow=1` the answer goes on with each further line until the order has ended.
    """
    asked = order_query.log_query(request.query_params)
    order = store.get(order_id)
    if asked.follow:
        lines = order_log.followed(store, order.id, asked.tail)
        return StreamingResponse(lines, media_type="text/plain")
    return PlainTextResponse(order_log.text_of(store.log(order.id, asked.tail)))


@router.delete("/{order_id}", status_code=204)
def delete_order(order_id: str, store: Store, caller: OrderingCaller) -> Response:
    """An order that has ended, and all that is kept of it. It cannot be undone."""
    store.delete_with_files(order_id, caller.name)
    return Response(status_code=204)


@router.post("/{order_id}/cancel", status_code=202, response_model=OrderView)
def cancel_order(order_id: str, store: Store, caller: OrderingCaller) -> Response:
    """End the order at once.

    Results on their way arrive or not; if they do, the order is delivered.
    """
    store.cancel(order_id, caller.name)
    return accepted(store, order_id)


@router.post("/{order_id}/retry", status_code=202, response_model=OrderView)
def retry_order(order_id: str, store: Store, caller: OrderingCaller) -> Response:
    """A failed, expired or cancelled order once more.

    Only the scans that are not classified run again.
    """
    enqueue(store.retry(order_id, caller.name))
    return accepted(store, order_id)


@router.post(
    "/{order_id}/deliver",
    status_code=202,
    response_model=OrderView,
    openapi_extra=openapi.DELIVER_BODY,
)
def deliver_order(
    order_id: str, config: Settings, store: Store, caller: OrderingCaller, raw: OptionalJsonBody
) -> Response:
    """The kept results of an undelivered order once more, without classifying again.

    With a new destination in the body also those of a delivered order.
    """
    destination = None
    if raw:
        destination = resolve(new_destination(raw), config.services.destinations)
        check_destination_hosts(destination, config.broker.allow_hosts)
    messages = store.deliver_again(order_id, caller.name, destination)
    _allow_call(store, order_id, destination)
    enqueue(messages)
    return accepted(store, order_id)


def _allow_call(store: OrderStore, order_id: str, destination: Destination | None) -> None:
    """Let a webhook that answered 410 be called again: somebody asks for it.

    `destination` is the new one of the order, or None where it has the old one.
    """
    if destination is None:
        (order,) = store.get_many([order_id])
        if isinstance(order, Order):
            destination = order.request.resolved_destination
    if isinstance(destination, WebhookDestination):
        store.forget_gone(destination.url.get_secret_value())


def _all_entries(store: OrderStore, query: Mapping[str, Any]) -> Iterator[Order | UnreadableOrder]:
    """Yield the orders of all pages."""
    cursor = query["cursor"]
    while True:
        page = store.find(**{**query, "cursor": cursor, "limit": order_query.MAX_LIMIT})
        yield from page.entries
        cursor = page.cursor
        if cursor is None:
            return


def _caller_key(key: str, caller: str) -> str:
    """Return the key that the store knows the order by. Two callers may choose the same key."""
    if not re.fullmatch(r"[\x20-\x7e]{1,255}", key):
        raise OrderError(
            "request_invalid",
            "Idempotency-Key holds 1 to 255 printable ASCII characters",
            hint="a UUID will do",
            field="Idempotency-Key",
        )
    return hashlib.sha256(f"{caller}\n{key}".encode()).hexdigest()


@contextmanager
def _outcome_unknown(*, has_key: bool) -> Iterator[None]:
    """Tell the caller how to repeat when Redis failed and may have stored the order or not."""
    try:
        yield
    except TemporaryError as fault:
        if fault.code != "store_unreachable":
            raise
        hint = ""
        if not has_key:
            hint = (
                "without an Idempotency-Key, look at GET /v1/orders first: "
                "a repeated order may be a second one"
            )
        detail = f"{fault.detail}; outcome unknown, repeat with the same key"
        raise TemporaryError(
            fault.code, detail, hint=hint, retry_after_s=fault.retry_after_s
        ) from fault


def _unless_unchanged(view: OrderView, request: Request) -> Response:
    """Return the order, or 304 where the caller already has this version of it.

    ETags are compared weakly (RFC 9110, 8.8.3.2): a proxy may have dropped the `W/`.
    """
    content = view.model_dump_json()
    opaque = f'"{hashlib.sha256(content.encode()).hexdigest()[:32]}"'
    tag = f"W/{opaque}"
    known = {part.strip() for part in request.headers.get("if-none-match", "").split(",")}
    if known & {tag, opaque, "*"}:
        return Response(status_code=304, headers={"etag": tag})
    return Response(content, headers={"etag": tag}, media_type=JSON)
