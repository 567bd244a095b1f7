"""What is answered where an order was accepted, or something was asked of one."""

from typing import Final

from starlette.responses import Response

from broker.order_store import OrderStore, UnreadableOrderError
from services.responses.views import (
    OrderView,
    UnreadableOrderView,
    entry_view,
    order_path,
    order_view,
)

_JSON: Final = "application/json"


def accepted(store: OrderStore, order_id: str, *, is_replay: bool = False) -> Response:
    """Return 202 with the order as it is now, also where its record cannot be read."""
    headers = {"location": order_path(order_id)}
    if is_replay:
        headers["idempotency-replayed"] = "true"
    view: OrderView | UnreadableOrderView
    try:
        view = current(store, order_id)
    except UnreadableOrderError as error:
        view = entry_view(error.order)
    return Response(view.model_dump_json(), 202, headers, _JSON)


def current(store: OrderStore, order_id: str) -> OrderView:
    """Return the order as it is now, with the reason why its work waits."""
    order = store.get(order_id)
    return order_view(order, store.waits(order))
