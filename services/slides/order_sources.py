"""Puts in place of a slide that was looked at, in an order, the source it was opened from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker.errors import OrderError
from broker.order_store import OrderStore
from broker.order_store.viewed_slides import ViewedSlide
from broker.orders.request import OrderRequest
from broker.orders.source import SlideSource
from services.auth import Caller
from services.slides.looking import own_slide


@dataclass(frozen=True, slots=True)
class OwnSources:
    """An order whose slides are what they were opened from.

    `looked_at`: by their number, the scans whose slide was fetched, with its place in the cache.
    """

    request: OrderRequest
    looked_at: Mapping[int, Mapping[str, Any]]


def with_own_sources(request: OrderRequest, store: OrderStore, caller: Caller) -> OwnSources:
    """Return the order with the sources that its slides were looked at from.

    Raise `OrderError("slide_unknown")` for a slide that is not known, or not to this caller, and
    with the problem of one that cannot be seen.
    """
    scans = list(request.scans)
    looked_at = {}
    for number, scan in enumerate(request.scans):
        if isinstance(scan.source, SlideSource):
            slide = _slide(scan.source, f"scans[{number}].source.slide", store, caller)
            scans[number] = scan.model_copy(update={"source": slide.source})
            if "digest" in slide.place:
                looked_at[number] = slide.place
    return OwnSources(request.model_copy(update={"scans": tuple(scans)}), looked_at)


def _slide(source: SlideSource, field: str, store: OrderStore, caller: Caller) -> ViewedSlide:
    try:
        slide = own_slide(store, source.slide, caller)
    except OrderError as error:
        if error.code != "not_found":
            raise
        raise _unknown(source, field) from None
    if slide.state == "failed" and slide.problem:
        problem = slide.problem
        raise OrderError(
            problem["code"],
            f"{field}: {problem['detail']}",
            hint=problem.get("hint", ""),
            field=field,
        )
    return slide


def _unknown(source: SlideSource, field: str) -> OrderError:
    return OrderError(
        "slide_unknown",
        f"{field}: no slide {source.slide!r} is looked at",
        hint="a slide is forgotten 24 h after its last use; look at it again with POST /v1/slides",
        field=field,
    )
