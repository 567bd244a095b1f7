"""What may be asked of an order that is there: cancel it, try it again, deliver it again."""

from collections.abc import Callable, Iterable

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from broker.order_store import OrderStore, TaskMessage
from broker.queue.celery_app import enqueue
from services.auth import Gate
from services.responses.views import OrderView, order_path
from services.routes.orders import current


def routes(store: OrderStore, gate: Gate) -> APIRouter:
    """`POST /v1/orders/{id}/cancel`, `/retry` and `/deliver`; each answers 202 with the order as it then stands."""
    router = APIRouter(prefix="/v1/orders", tags=["orders"], dependencies=[Depends(gate.order)])

    def cancelled(order_id: str) -> Iterable[TaskMessage]:
        store.cancel(order_id)
        return ()

    @router.post("/{order_id}/cancel", status_code=202, response_model=OrderView)
    def cancel_order(order_id: str) -> Response:
        """End the order at once. Results on their way arrive or not; if they do, the order is delivered."""
        return _done(store, order_id, cancelled)

    @router.post("/{order_id}/retry", status_code=202, response_model=OrderView)
    def retry_order(order_id: str) -> Response:
        """A failed, expired or cancelled order once more: only the scans that are not classified run again."""
        return _done(store, order_id, store.retry)

    @router.post("/{order_id}/deliver", status_code=202, response_model=OrderView)
    def deliver_order(order_id: str) -> Response:
        """The kept results of an undelivered order once more, without classifying again."""
        return _done(store, order_id, store.deliver_again)

    return router


def _done(
    store: OrderStore, order_id: str, wish: Callable[[str], Iterable[TaskMessage]]
) -> Response:
    enqueue(wish(order_id))
    shown = current(store, order_id).model_dump_json()
    return Response(shown, 202, {"location": order_path(order_id)}, "application/json")
