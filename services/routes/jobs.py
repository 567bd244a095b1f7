"""The route that lists jobs: one algorithm on one scan each."""

import time
from collections.abc import Iterator

from fastapi import APIRouter, Request
from fastapi.responses import Response

from broker.orders.order import Order, UnreadableOrder
from services.dependencies import ReadingCaller, Store
from services.requests import order_query
from services.responses.jobs import JobsView, JobView, jobs_of
from services.responses.views import UnreadableOrderView, entry_view

router = APIRouter(prefix="/v1/jobs", tags=["hosting"])


@router.get("", response_model=JobsView, openapi_extra=order_query.PARAMETERS)
def list_jobs(request: Request, store: Store, caller: ReadingCaller) -> Response:
    """What ran, newest first: who asked for it, state, duration, whose fault a failure is, its log.

    A job is one algorithm on one scan. `state` and `limit` are those of orders: all jobs of an
    order are on one page.
    """
    query = order_query.query(request.query_params)
    view = JobsView(jobs=[], next=None)
    if not order_query.asks_for_others(query, caller):
        page = store.find(**query)
        jobs = [job for entry in page.entries for job in _jobs(entry)]
        view = JobsView(jobs=jobs, next=page.cursor)
    return Response(view.model_dump_json(), media_type="application/json")


def _jobs(entry: Order | UnreadableOrder) -> Iterator[JobView | UnreadableOrderView]:
    if isinstance(entry, Order):
        yield from jobs_of(entry, time.time())
        return
    shown = entry_view(entry)
    if isinstance(shown, UnreadableOrderView):
        yield shown
