"""What would become of an order, without placing it: `POST /v1/orders?validate_only=true`.

The order is admitted as any other, and nothing is stored. Slides on this machine's disk are looked
at through the viewer, which counts tiles as a worker would.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from anyio import from_thread
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import to_jsonable_python

from broker.errors import OrderError, TemporaryError
from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.request import ScanRequest
from broker.orders.roi import RoiLimits
from broker.orders.source import SlideSource
from broker.orders.stains import contradiction, on_mismatch
from services.requests.placement import Orderable, Placement
from services.slides.disk import path_on_disk
from services.slides.preflight.speed import Speed
from services.slides.preflight.views import PlannedScanView, PreflightView, WarningView
from services.slides.viewer_process.client import ViewerClient, unavailable
from services.slides.viewer_process.http_connection import BadAnswerError

AT_ONCE: Final = 4
"""Slides of one order that are opened at a time: the viewer keeps few open."""
PLANS_S: Final = 5.0
"""So long the viewer is waited for, for all slides of one order together."""
_SEEN: Final = frozenset({"ready", "fetched"})


class PlanAnswer(BaseModel):
    """What the viewer says of the tiles of a region."""

    width: int = Field(gt=0)
    height: int = Field(gt=0)
    mpp_x: float | None
    mpp_source: str = Field(max_length=64)
    tiles: int | None = Field(ge=0)
    warnings: tuple[WarningView, ...] = Field((), max_length=16)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the viewer finds the slide of a scan, and what the case locator says of its pixels.

    `digest`: which slide was looked at there, where one was.
    """

    path: str
    mpp: float | None = None
    digest: str = ""


def preflight(document: Any, placement: Placement, viewer: ViewerClient) -> PreflightView:
    """Return what would become of the order that a JSON document describes.

    To be called from a thread of the API's event loop. Raise as `Placement.place_document` does,
    and `OrderError` for what only the slide shows: a region beside it, a file that is no slide.
    """
    request = placement.requested(document)
    admitted = placement.admitted(request, Orderable.of(placement.store))
    card = admitted.card
    places = [_place(scan, placement) for scan in request.scans]
    planner = Planner(viewer, card, request.roi_limits)
    plans = from_thread.run(planner.plans, request.scans, places)
    speed = Speed.of(placement.store, card)
    mismatch = on_mismatch(admitted.request.parameters, card)
    scans = []
    for index, (scan, plan) in enumerate(zip(request.scans, plans, strict=True)):
        view = _view(scan, plan, speed, f"scans[{index}]")
        contradicts = contradiction(scan.stain, card)
        if contradicts and mismatch == "warn":
            view.warnings.append(WarningView(code="stain_unexpected", detail=contradicts))
        scans.append(view)
    return PreflightView(algorithm=card.name, scans=scans)


def _place(scan: ScanRequest, placement: Placement) -> Place | None:
    """Return where the slide is on the viewer's disk, None where it is not there yet."""
    if isinstance(scan.source, SlideSource):
        slide = placement.store.viewed_slides.use(scan.source.slide)
        if slide.state in _SEEN:
            return Place(slide.path, slide.mpp, slide.digest)
        return None
    path = path_on_disk(scan.source, placement.config)
    if path is None:
        return None
    return Place(path)


class Planner:
    """Has the viewer count the tiles of scans. For one event loop."""

    def __init__(
        self, viewer: ViewerClient, card: AlgorithmCard, roi_limits: RoiLimits | None
    ) -> None:
        self._viewer = viewer
        self._roi_limits = to_jsonable_python(roi_limits)
        # Only its numbers count; its schema and texts need not be sent.
        brief = card.model_copy(update={"parameters": {}, "description": "", "report": {}})
        self._card = brief.model_dump(mode="json")
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def plans(
        self, scans: Sequence[ScanRequest], places: Sequence[Place | None]
    ) -> list[PlanAnswer | str]:
        """Return the plan of each scan, or why its slide was not looked at, within `PLANS_S`.

        Raise `OrderError`. A thread waits for it, and orders need threads too: where as many wait
        as may, the slides are not looked at.
        """
        try:
            with self._viewer.waiting_thread():
                return await self._plans_in_time(scans, places)
        except TemporaryError as error:
            return [error.detail] * len(scans)

    async def _plans_in_time(
        self, scans: Sequence[ScanRequest], places: Sequence[Place | None]
    ) -> list[PlanAnswer | str]:
        asked = [
            asyncio.create_task(self._plan(f"scans[{index}]", scan, place))
            for index, (scan, place) in enumerate(zip(scans, places, strict=True))
        ]
        try:
            # Every scan is waited for: of several faults the first scan's is told, as for an order.
            await asyncio.wait(asked, timeout=PLANS_S)
            return [_plan_of(task) for task in asked]
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    async def _plan(self, field: str, scan: ScanRequest, place: Place | None) -> PlanAnswer | str:
        if place is None:
            return "its slide is not on this machine yet; look at it first with POST /v1/slides"
        question = {
            "card": self._card,
            "roi": to_jsonable_python(scan.roi),
            "roi_limits": self._roi_limits,
        }
        if scan.mpp is not None:
            question |= {"mpp": scan.mpp, "mpp_source": "order"}
        elif place.mpp is not None:
            question |= {"mpp": place.mpp, "mpp_source": "locator"}
        try:
            async with self._turns:
                answer = await self._viewer.post_json(
                    "/tiles", place.path, question, digest=place.digest
                )
            return PlanAnswer.model_validate(answer)
        except OrderError as error:
            if error.code == "slide_gone":
                return f"{error.detail}; look at it again with POST /v1/slides"
            raise _of_scan(error, field, scan) from None
        except TemporaryError as error:
            return error.detail
        except ValidationError:
            return unavailable(BadAnswerError("it is no plan of tiles")).detail


def _plan_of(task: asyncio.Task[PlanAnswer | str]) -> PlanAnswer | str:
    """Return what became of looking at a slide. Raise `OrderError`."""
    if not task.done():
        return f"the viewer of slides did not answer within {PLANS_S:g} s"
    return task.result()


def _of_scan(error: OrderError, field: str, scan: ScanRequest) -> OrderError:
    """Return the error with the field of the order that is wrong."""
    if error.field in ("roi", "mpp"):
        name = error.field
    else:
        name = f"source.{scan.source.type}"
    return OrderError(
        error.code, f"{field}.{name}: {error.detail}", hint=error.hint, field=f"{field}.{name}"
    )


def _view(scan: ScanRequest, plan: PlanAnswer | str, speed: Speed, field: str) -> PlannedScanView:
    """Return a scan as it is shown. `field`: where it stands in the order."""
    if isinstance(plan, str):
        warning = WarningView(code="not_looked_at", detail=plan, field=f"{field}.source")
        return PlannedScanView(
            id=scan.id,
            width=None,
            height=None,
            mpp=None,
            mpp_source=None,
            tiles=None,
            expected_s=None,
            warnings=[warning],
        )
    warnings = [_at_field(warning, field) for warning in plan.warnings]
    return PlannedScanView(
        id=scan.id,
        width=plan.width,
        height=plan.height,
        mpp=plan.mpp_x,
        mpp_source=plan.mpp_source,
        tiles=plan.tiles,
        expected_s=speed.expected_s(plan.tiles),
        warnings=warnings,
    )


def _at_field(warning: WarningView, field: str) -> WarningView:
    if warning.code != "mpp_missing":
        return warning
    return warning.model_copy(update={"field": f"{field}.mpp"})
