"""Answers that wait for the end of an order: `Prefer: wait=N` (RFC 7240).

A request that waits follows the feed of changes as a stream does, and costs no thread.
"""

import re
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, cast

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute

from broker.errors import OrderError, TemporaryError
from broker.order_store import OrderStore
from broker.orders.order import ENDED
from services.live.feed import ChangeFeed, Follower
from services.responses.accepted import current

LONGEST_S: Final = 60
PREFERENCE: Final[dict[str, Any]] = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "example": "wait=20"},
    "description": f"`wait=N`: answer once the order has ended, or after N seconds, at most "
    f"{LONGEST_S}; `Preference-Applied` says that it was waited for",
}
_WAIT: Final = re.compile(r"wait\s*=\s*(\d{1,9}|\"\d{1,9}\")\s*(;.*)?", re.IGNORECASE)
_CHECK_S: Final = 5.0
"""How often it is looked whether the caller is still there."""


class WaitingRoute(APIRoute):
    """A route about orders whose answer waits where the caller prefers that.

    That is an answer that an order was accepted, which becomes 200 once it has ended, and an
    answer that shows one order.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of the route, and of the waiting."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            response = await handler(request)
            wait_s = preferred_wait_s(request)
            if wait_s is None:
                return response
            order_id = request.path_params.get("order_id", "")
            if response.status_code == 202:
                order_id = response.headers.get("location", "").rpartition("/")[2]
            elif self.name != "get_order":
                return response
            if not order_id or not await _has_waited(request, order_id, wait_s):
                return response
            if response.status_code == 202:
                response = await run_in_threadpool(_finished, request, order_id, response)
            else:
                response = await handler(request)
            response.headers["preference-applied"] = f"wait={wait_s}"
            return response

        return handle


def preferred_wait_s(request: Request) -> int | None:
    """Return how long the caller wants to wait, at most a minute; None where it does not say."""
    for header in request.headers.getlist("prefer"):
        for preference in header.split(","):
            found = _WAIT.fullmatch(preference.strip())
            if found:
                return min(LONGEST_S, int(found[1].strip('"')))
    return None


async def _has_waited(request: Request, order_id: str, wait_s: int) -> bool:
    """Wait for the end of the order, or for `wait_s`. Return False where nobody may wait now."""
    feed = cast(ChangeFeed, request.app.state.feed)
    store = cast(OrderStore, request.app.state.store)
    follower = Follower({order_id}, with_views=False)
    try:
        await run_in_threadpool(feed.follow, follower)
    except TemporaryError:
        return False
    try:
        await _wait(request, store, follower, order_id, time.monotonic() + wait_s)
    finally:
        feed.leave(follower)
    return True


async def _wait(
    request: Request, store: OrderStore, follower: Follower, order_id: str, until: float
) -> None:
    """Return when the order has ended, the time is over, or nobody waits for the answer."""
    try:
        # What happened before it is followed makes no event.
        (order,) = await run_in_threadpool(store.get_many, [order_id])
    except TemporaryError:
        return
    if order is None or order.state is None or order.state in ENDED:
        return
    while (left_s := until - time.monotonic()) > 0:
        for event in await follower.next(min(left_s, _CHECK_S)):
            if "deleted" in event.data or event.data.get("state") in ENDED:
                return
        if follower.is_cut or follower.is_over or await request.is_disconnected():
            return


def _finished(request: Request, order_id: str, accepted: Response) -> Response:
    """Return 200 with the order where it has ended, else what was answered when it was accepted.

    An order that is done is answered as accepted where it cannot be read just now.
    """
    try:
        view = current(cast(OrderStore, request.app.state.store), order_id)
    except (OrderError, TemporaryError):
        return accepted
    status = 202
    if view.state in ENDED:
        status = 200
    kept = {
        name: value
        for name, value in accepted.headers.items()
        if name in ("location", "idempotency-replayed")
    }
    return Response(view.model_dump_json(), status, kept, "application/json")
