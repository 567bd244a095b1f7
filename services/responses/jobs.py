"""Jobs: runs of an algorithm on one scan each, as Techcyte's tab "Jobs and Logs" lists them."""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, Field

from broker.orders.order import Order, Scan, ScanState
from broker.orders.result_files import OUTPUT_LOG
from services.responses.views import ABSENT, OrderView, UnreadableOrderView, order_view


class JobView(BaseModel):
    """One algorithm on one scan of an order: who asked for it, how it went, where its log is."""

    order: str = Field(description="id of the order")
    scan: str = Field(description="id of the scan")
    algorithm: str
    created_at: str
    created_by: Annotated[str | None, ABSENT] = Field(
        default=None, description="name of the API key that the order came with"
    )
    state: ScanState
    started_at: Annotated[str | None, ABSENT] = Field(
        default=None, description="when a worker last began with it"
    )
    ended_at: Annotated[str | None, ABSENT] = None
    duration_s: Annotated[float | None, ABSENT] = Field(
        default=None, description="seconds from `started_at` to the end, or until now"
    )
    error: Annotated[dict[str, Any] | None, ABSENT] = Field(
        default=None, description="why it failed; `blame` says whose fault it is"
    )
    links: dict[str, str] = Field(
        description="`order`, `log` of the order, and `output.log`, what the program printed"
    )


class JobsView(BaseModel):
    """The jobs of a page of orders, newest first."""

    jobs: list[JobView | UnreadableOrderView]
    next: str | None = Field(description="`cursor` of the following page; null at the end")


def jobs_of(order: Order, now: float) -> Iterator[JobView]:
    """Yield the jobs of the order. `now`: seconds since 1970."""
    view = order_view(order)
    for scan, shown in zip(order.scans, view.scans, strict=True):
        yield JobView(
            order=view.id,
            scan=shown.id,
            algorithm=view.algorithm,
            created_at=view.created_at,
            created_by=view.created_by,
            state=shown.state,
            started_at=shown.started_at,
            ended_at=shown.ended_at,
            duration_s=_duration_s(scan, now),
            error=shown.error or _error_of_order(view, scan),
            links=_links(view, shown.links),
        )


def _duration_s(scan: Scan, now: float) -> float | None:
    if scan.started_at is None:
        return None
    ended_at = scan.ended_at
    if ended_at is None:
        if scan.state != ScanState.CLASSIFYING:
            return None  # it was given back and waits
        ended_at = now
    return round(max(0.0, ended_at - scan.started_at), 3)


def _error_of_order(view: OrderView, scan: Scan) -> dict[str, Any] | None:
    """Return why the order ended before the scan did: it expired, say."""
    if scan.state == ScanState.CLASSIFIED:
        return None
    return view.error


def _links(view: OrderView, results: dict[str, str]) -> dict[str, str]:
    links = {"order": view.links["self"], "log": view.links["log"]}
    if OUTPUT_LOG in results:
        links[OUTPUT_LOG] = results[OUTPUT_LOG]
    return links
