"""Puts in place of a slide that was looked at, in an order, the source it was opened from."""

from broker.errors import OrderError
from broker.order_store import OrderStore
from broker.orders.request import OrderRequest, ScanRequest
from broker.orders.source import SlideSource
from services.auth import Caller
from services.slides.looking import own_slide


def with_own_sources(request: OrderRequest, store: OrderStore, caller: Caller) -> OrderRequest:
    """Return the order with the sources that its slides were looked at from.

    Raise `OrderError("slide_unknown")` for a slide that is not known, or not to this caller.
    """
    if not any(isinstance(scan.source, SlideSource) for scan in request.scans):
        return request
    scans = tuple(
        _with_own_source(scan, f"scans[{index}].source.slide", store, caller)
        for index, scan in enumerate(request.scans)
    )
    return request.model_copy(update={"scans": scans})


def _with_own_source(
    scan: ScanRequest, field: str, store: OrderStore, caller: Caller
) -> ScanRequest:
    if not isinstance(scan.source, SlideSource):
        return scan
    try:
        slide = own_slide(store, scan.source.slide, caller)
    except OrderError as error:
        if error.code != "not_found":
            raise
        raise _unknown(scan.source, field) from None
    if slide.state == "failed" and slide.problem:
        problem = slide.problem
        raise OrderError(
            problem["code"],
            f"{field}: {problem['detail']}",
            hint=problem.get("hint", ""),
            field=field,
        )
    return scan.model_copy(update={"source": slide.source})


def _unknown(source: SlideSource, field: str) -> OrderError:
    return OrderError(
        "slide_unknown",
        f"{field}: no slide {source.slide!r} is looked at",
        hint="a slide is forgotten 24 h after its last use; look at it again with POST /v1/slides",
        field=field,
    )
