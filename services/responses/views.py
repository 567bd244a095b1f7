"""Orders as callers see them: no secret, times as RFC 3339 in UTC, links to what is there."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field

from broker.order_progress import OrderProgress, order_progress, scan_progress
from broker.order_store import Wait
from broker.orders.order import (
    ENDED,
    Attempt,
    Bottleneck,
    Order,
    OrderState,
    Progress,
    Scan,
    ScanState,
    UnreadableOrder,
    bottleneck,
    work_id,
)
from broker.orders.result_files import ARCHIVE, downloads
from services.responses.problems import stored_problem

ABSENT = Field(default=None, exclude_if=lambda value: value is None)
DeliveryState = Literal["waiting", "trying", "asking", "delivered", "undelivered", "none"]


class AttemptView(BaseModel):
    """One try at the destination."""

    at: str
    status: int | None = Field(description="HTTP status of the answer; null when none came")
    outcome: str
    error: Annotated[str | None, ABSENT] = None
    remote_id: Annotated[str | None, ABSENT] = Field(
        default=None, description="what the destination calls the job that it made"
    )


class WaitView(BaseModel):
    """Why it is not being done yet."""

    queue: str
    ahead: int = Field(description="how much is taken before it")
    reason: str


class DeliveryView(BaseModel):
    """Where the results are on their way to the destination."""

    state: DeliveryState
    waiting: Annotated[WaitView | None, ABSENT] = None
    attempts: list[AttemptView]


class WarningView(BaseModel):
    """A reason to doubt a result that is there all the same."""

    code: str
    detail: str


class OrderWarningView(WarningView):
    """A warning of one scan of the order, or of its delivery."""

    scan: Annotated[str | None, ABSENT] = Field(
        default=None, description="id of the scan; absent where it is about the delivery"
    )


class ScanView(BaseModel):
    """One scan: what was asked and how far it is."""

    id: str
    state: ScanState
    source: dict[str, Any]
    roi: Annotated[dict[str, Any] | str | None, ABSENT] = None
    mpp: Annotated[float | None, ABSENT] = None
    stain: Annotated[str | None, ABSENT] = None
    waiting: Annotated[WaitView | None, ABSENT] = None
    progress: Progress
    timings: dict[str, float] = Field(description="seconds by stage, and counts of bytes and tiles")
    bottleneck: Annotated[Bottleneck | None, ABSENT] = Field(
        default=None, description="what a classified scan spent most of its time on"
    )
    worker: Annotated[str | None, ABSENT] = Field(
        default=None, description="the worker that has it now"
    )
    task: Annotated[str | None, ABSENT] = Field(
        default=None, description="id of its last Celery task, by which Flower shows it"
    )
    started_at: Annotated[str | None, ABSENT] = Field(
        default=None, description="when a worker last began to classify it"
    )
    ended_at: Annotated[str | None, ABSENT] = None
    summary: dict[str, Any]
    warnings: list[WarningView] = Field(description="reasons to doubt the result")
    error: Annotated[dict[str, Any] | None, ABSENT] = None
    links: dict[str, str] = Field(description="the results, as soon as they are there")


class ActView(BaseModel):
    """What somebody asked of an order: `cancel`, `retry` or `deliver`."""

    at: str
    act: str
    by: str = Field(description="name of the API key")


class OrderView(BaseModel):
    """One order as `GET /v1/orders/{id}` shows it."""

    id: str
    state: OrderState
    algorithm: str
    parameters: dict[str, Any]
    priority: str
    labels: dict[str, str]
    created_at: str
    updated_at: str
    expires_at: str
    created_by: Annotated[str | None, ABSENT] = Field(
        default=None, description="name of the API key it came with"
    )
    acts: list[ActView] = Field(description="the last requests to change it, oldest first")
    progress: OrderProgress
    destination: dict[str, Any]
    notify: Annotated[dict[str, Any] | None, ABSENT] = Field(
        default=None, description="the webhook that is told how the order ends"
    )
    scans: list[ScanView]
    delivery: DeliveryView
    warnings: list[OrderWarningView] = Field(
        description="those of all scans, and of what was to follow the results"
    )
    error: Annotated[dict[str, Any] | None, ABSENT] = None
    links: dict[str, str]


class UnreadableOrderView(BaseModel):
    """What is shown of an order whose record is damaged or encrypted with an unknown key."""

    id: str
    state: OrderState | None = Field(description="null where that cannot be read either")
    created_at: str | None
    updated_at: str | None
    expires_at: str | None
    error: dict[str, Any]


def rfc3339(seconds: float) -> str:
    """Return seconds since 1970 as an RFC 3339 time in UTC, to the millisecond."""
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def order_path(order_id: str) -> str:
    """Return the path of an order."""
    return f"/v1/orders/{order_id}"


def order_view(order: Order, waits: Mapping[str, Wait] | None = None) -> OrderView:
    """Return the order as a caller that may read sees it; with `waits`, why its work waits."""
    request = order.request
    shown = request.shown()
    waiting = {work: WaitView(**asdict(wait)) for work, wait in (waits or {}).items()}
    scans = []
    for scan in order.scans:
        wait = waiting.get(work_id(order.id, scan.index))
        scans.append(_scan(order.id, scan, shown["scans"][scan.index], wait))
    state = delivery_state(order)
    delivery_wait = waiting.get(work_id(order.id))
    if delivery_wait and state == "asking":
        delivery_wait.reason = f"asking whether it arrived; {delivery_wait.reason}"
    delivery = DeliveryView(
        state=state,
        waiting=delivery_wait,
        attempts=[_attempt(attempt) for attempt in order.attempts],
    )
    return OrderView(
        id=order.id,
        state=order.state,
        algorithm=request.algorithm,
        parameters=request.parameters,
        priority=request.priority,
        labels=request.labels,
        created_at=rfc3339(order.created_at),
        updated_at=rfc3339(order.updated_at),
        expires_at=rfc3339(order.expires_at),
        created_by=order.created_by or None,
        acts=[ActView(at=rfc3339(one.at), act=one.act, by=one.by) for one in order.acts],
        destination=order.shown_destination,
        notify=shown.get("notify"),
        progress=order_progress(order),
        scans=scans,
        delivery=delivery,
        warnings=_all_warnings(order),
        error=_problem(order.error),
        links=_links(order),
    )


def entry_view(entry: Order | UnreadableOrder) -> OrderView | UnreadableOrderView:
    """Return one entry of a list of orders."""
    if isinstance(entry, Order):
        return order_view(entry)
    return UnreadableOrderView(
        id=entry.id,
        state=entry.state,
        created_at=_time(entry.created_at),
        updated_at=_time(entry.updated_at),
        expires_at=_time(entry.expires_at),
        error=stored_problem(entry.problem.as_dict()),
    )


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return rfc3339(seconds)


def delivery_state(order: Order) -> DeliveryState:
    """Return the state of the delivery; `none` where there is nothing to deliver."""
    if order.shown_destination["type"] == "none":
        return "none"
    if order.state == OrderState.DELIVERED:
        return "delivered"
    if order.state == OrderState.DELIVERING:
        return _state_under_way(order)
    if order.state not in ENDED:
        return "waiting"
    if order.last_attempt or order.state == OrderState.UNDELIVERED:
        return "undelivered"
    return "none"


def _state_under_way(order: Order) -> DeliveryState:
    """Return `asking` while the destination is asked whether the last attempt arrived."""
    if order.last_attempt and order.last_attempt.is_uncertain:
        return "asking"
    return "trying"


def _scan(order_id: str, scan: Scan, shown: dict[str, Any], waiting: WaitView | None) -> ScanView:
    """Return one scan. `shown` is the scan as it was ordered, without secrets."""
    links: dict[str, str] = {}
    if scan.result:
        path = f"{order_path(order_id)}/scans/{scan.id}"
        links = {name: f"{path}/{name}" for name in (*downloads(scan.files), ARCHIVE)}
    elif scan.kept:
        path = f"{order_path(order_id)}/scans/{scan.id}"
        links = {name: f"{path}/{name}" for name in scan.files}
    return ScanView(
        id=scan.id,
        state=scan.state,
        source=shown["source"],
        roi=shown.get("roi"),
        mpp=shown.get("mpp"),
        stain=shown.get("stain"),
        waiting=waiting,
        progress=scan_progress(scan),
        timings=scan.timings,
        bottleneck=bottleneck(scan.timings),
        worker=scan.worker or None,
        task=scan.last_task(order_id),
        started_at=_time(scan.started_at),
        ended_at=_time(scan.ended_at),
        summary=scan.summary,
        warnings=[WarningView(code=one.code, detail=one.detail) for one in scan.warnings],
        error=_problem(scan.error),
        links=links,
    )


_RESULTS_GO_OUT: Final = frozenset(
    {OrderState.DELIVERING, OrderState.DELIVERED, OrderState.UNDELIVERED}
)


def _all_warnings(order: Order) -> list[OrderWarningView]:
    warnings = []
    for scan in order.scans:
        if scan.error and order.state in _RESULTS_GO_OUT:
            # the rest is delivered all the same, so nobody must overlook it
            view = OrderWarningView(
                scan=scan.id,
                code="scan_failed",
                detail=f"{scan.error['code']}: {scan.error.get('detail', '')}",
            )
            warnings.append(view)
        for one in scan.warnings:
            view = OrderWarningView(scan=scan.id, code=one.code, detail=one.detail)
            warnings.append(view)
    for attempt in order.attempts[order.attempts_before :]:
        of_delivery = attempt.warnings
        warnings += [OrderWarningView(code=one.code, detail=one.detail) for one in of_delivery]
    return warnings


def _attempt(attempt: Attempt) -> AttemptView:
    return AttemptView(
        at=rfc3339(attempt.at),
        status=attempt.status,
        outcome=attempt.outcome,
        error=attempt.error or None,
        remote_id=attempt.remote_id or None,
    )


def _problem(error: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the fault in the form that a refused request has."""
    if error is None:
        return None
    return stored_problem(error)


def _links(order: Order) -> dict[str, str]:
    path = order_path(order.id)
    links = {"self": path, "log": f"{path}/log"}
    if order.payload:
        links["payload"] = f"{path}/payload"
    return links
