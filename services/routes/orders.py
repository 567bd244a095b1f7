"""Orders come in and are looked at. A 202 means that the order is kept; what happens to it is the bench's."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import PlainTextResponse, Response

from broker.errors import OrderError, TemporaryError
from broker.order_store import OrderStore
from broker.queue.celery_app import enqueue
from broker.settings.config import Config
from services import openapi
from services.auth import Gate
from services.requests import json_body, order_query
from services.requests.admission import admit
from services.requests.order_validation import order_request
from services.responses.views import OrderView, order_path, order_view, rfc3339


def routes(config: Config, store: OrderStore, gate: Gate) -> APIRouter:
    """`/v1/orders`: place one, look at one, find many, read the log of one."""
    router = APIRouter(prefix="/v1/orders", tags=["orders"])

    async def raw_body(request: Request) -> bytes:
        return await json_body.read(request, config.services.max_body_bytes)

    @router.post("", status_code=202, response_model=OrderView, openapi_extra=openapi.ORDER_BODY)
    def place_order(
        request: Request,
        caller: Annotated[str, Depends(gate.order)],
        raw: Annotated[bytes, Depends(raw_body)],
        idempotency_key: Annotated[
            str | None, Header(description="repeating with the same key is safe")
        ] = None,
    ) -> Response:
        """Place an order. Answers as soon as it is kept; follow it at `Location`."""
        order_query.refuse_parameters(request.query_params, known=())
        key = None if idempotency_key is None else _scoped(idempotency_key, caller)
        with _outcome_unknown(safe=key is not None):
            return _placed(config, store, raw, key)

    @router.get(
        "",
        response_model=order_query.OrdersView,
        openapi_extra=order_query.PARAMETERS,
        dependencies=[Depends(gate.read)],
    )
    def list_orders(request: Request) -> Response:
        """Orders, newest first. `next` is the cursor of the following page."""
        page = store.find(**order_query.query(request.query_params))
        shown = order_query.OrdersView(
            orders=[order_view(order) for order in page.orders], next=page.cursor
        )
        return Response(shown.model_dump_json(), media_type="application/json")

    @router.get("/{order_id}", response_model=OrderView, dependencies=[Depends(gate.read)])
    def get_order(order_id: str, request: Request) -> Response:
        """One order. With `If-None-Match`, 304 while nothing has changed."""
        return _shown(current(store, order_id), request)

    @router.get(
        "/{order_id}/log", response_class=PlainTextResponse, dependencies=[Depends(gate.read)]
    )
    def get_log(order_id: str) -> PlainTextResponse:
        """What happened to the order, one line per thing."""
        order = store.get(order_id)
        lines = (
            f"{rfc3339(line['at'])} {' '.join(line['text'].split())}\n"
            for line in store.log(order.id)
        )
        return PlainTextResponse("".join(lines))

    return router


def current(store: OrderStore, order_id: str) -> OrderView:
    """The order as it stands, with why it waits."""
    order = store.get(order_id)
    return order_view(order, store.waits(order))


def _placed(config: Config, store: OrderStore, raw: bytes, key: str | None) -> Response:
    asked, document = order_request(raw)
    fingerprint = _fingerprint(document) if key else ""
    # What was accepted once is not judged again: its expiry may have passed, its algorithm be gone.
    if key and (known := store.find_by_key(key, fingerprint)):
        return _kept(store, known, fresh=False)
    request, card = admit(asked, store.cards(), config)
    created = store.create(request, queue=card.queue, key=key, fingerprint=fingerprint)
    enqueue(created.messages)
    return _kept(store, created.order_id, fresh=created.fresh)


def _kept(store: OrderStore, order_id: str, *, fresh: bool) -> Response:
    headers = {"location": order_path(order_id)}
    if not fresh:
        headers["idempotency-replayed"] = "true"
    return Response(current(store, order_id).model_dump_json(), 202, headers, "application/json")


def _scoped(key: str, caller: str) -> str:
    if not re.fullmatch(r"[\x20-\x7e]{1,255}", key):
        raise OrderError(
            "request_invalid",
            "Idempotency-Key holds 1 to 255 printable ASCII characters",
            hint="a UUID will do",
            field="Idempotency-Key",
        )
    # Two callers may choose the same key; neither may meet the other's order.
    return hashlib.sha256(f"{caller}\n{key}".encode()).hexdigest()


def _fingerprint(document: Any) -> str:
    # Of the document as it was sent: a default that changed since must not make it another order.
    return hashlib.sha256(
        json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()


@contextmanager
def _outcome_unknown(*, safe: bool) -> Iterator[None]:
    try:
        yield
    except TemporaryError as fault:
        if fault.code != "store_unreachable":
            raise
        hint = (
            ""
            if safe
            else "without an Idempotency-Key, look at GET /v1/orders first: a repeated order may be a second one"
        )
        detail = f"{fault.detail}; outcome unknown, repeat with the same key"
        raise TemporaryError(
            fault.code, detail, hint=hint, retry_after_s=fault.retry_after_s
        ) from fault


def _shown(view: OrderView, request: Request) -> Response:
    content = view.model_dump_json()
    tag = f'W/"{hashlib.sha256(content.encode()).hexdigest()[:32]}"'
    known = {t.strip() for t in request.headers.get("if-none-match", "").split(",")}
    # Compared weakly (RFC 9110, 8.8.3.2): proxies may have dropped the mark.
    if known & {tag, tag.removeprefix("W/"), "*"}:
        return Response(status_code=304, headers={"etag": tag})
    return Response(content, headers={"etag": tag}, media_type="application/json")
