"""Puts in place of a slide that was looked at, in an order, the source it was opened from.

A file of the server may be replaced between looking and ordering: the viewer is asked whether it
was. Orders need no viewer, so that one which does not answer is waited for briefly, and then not
asked again.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from anyio import from_thread

from broker.errors import OrderError, TemporaryError
from broker.order_store import OrderStore
from broker.order_store.viewed_slides import ViewedSlide
from broker.orders.request import OrderRequest
from broker.orders.source import PathSource, SlideSource
from services.auth import Caller
from services.slides.looking import own_slide
from services.slides.viewer_process.client import ViewerClient

WAIT_S: Final = 5.0
"""So long the viewer is waited for in all, of one request."""


@dataclass(frozen=True, slots=True)
class OwnSources:
    """An order whose slides are what they were opened from.

    `looked_at`: by their number, the scans whose slide was fetched, with its place in the cache.
    """

    request: OrderRequest
    looked_at: Mapping[int, Mapping[str, Any]]


class ChangeCheck:
    """Asks the viewer about the slides of one request. For a thread of the API's event loop."""

    def __init__(self, viewer: ViewerClient) -> None:
        self._viewer = viewer
        self._left_s = WAIT_S

    def require_unchanged(self, slide: ViewedSlide, field: str) -> None:
        """Raise `OrderError("slide_gone")` where another file lies now where it was looked at."""
        if not isinstance(slide.source, PathSource) or not slide.digest or self._left_s <= 0:
            return
        began = time.monotonic()
        try:
            from_thread.run(self._ask, slide)
        except OrderError as error:
            if error.code != "slide_gone":
                return  # the scan fails with it, as that of any path
            raise OrderError(
                "slide_gone",
                f"{field}: the slide has changed since it was looked at",
                hint="look at its source again with POST /v1/slides, and order that",
                field=field,
            ) from None
        except (TemporaryError, TimeoutError):
            self._left_s = 0
        else:
            self._left_s -= time.monotonic() - began

    async def _ask(self, slide: ViewedSlide) -> None:
        with self._viewer.waiting_thread():
            async with asyncio.timeout(self._left_s):
                await self._viewer.get_json("/digest", slide.path, digest=slide.digest)


def with_own_sources(
    request: OrderRequest, store: OrderStore, caller: Caller, check: ChangeCheck | None = None
) -> OwnSources:
    """Return the order with the sources that its slides were looked at from.

    Raise `OrderError("slide_unknown")` for a slide that is not known, or not to this caller,
    `slide_gone` where `check` finds that its file has changed, and with the problem of one that
    cannot be seen.
    """
    scans = list(request.scans)
    looked_at = {}
    for number, scan in enumerate(request.scans):
        if isinstance(scan.source, SlideSource):
            field = f"scans[{number}].source.slide"
            slide = _slide(scan.source, field, store, caller)
            if check is not None:
                check.require_unchanged(slide, field)
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
