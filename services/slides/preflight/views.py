"""What would become of an order, as JSON."""

from typing import Annotated

from pydantic import BaseModel, Field

from services.responses.views import ABSENT


class WarningView(BaseModel):
    """A reason to look again before the order is placed; `field` is what would put it right."""

    code: str
    detail: str
    field: Annotated[str | None, ABSENT] = None


class PlannedScanView(BaseModel):
    """What a scan would be. Everything is null of a slide that was not looked at yet."""

    id: str
    width: int | None = Field(description="of the slide, in level-0 pixels")
    height: int | None = Field(description="of the slide, in level-0 pixels")
    mpp: float | None = Field(description="microns per pixel in x; null where nothing says")
    mpp_source: str | None = Field(description="whose word that is; `none` where nothing says")
    tiles: int | None = Field(
        description="tiles that cover the region, at most so many are read: those without tissue "
        "may be left out; null for an algorithm that reads none"
    )
    expected_s: float | None = Field(
        description="seconds to classify, at the speed of the algorithm's last scans; null where "
        "there are none"
    )
    warnings: list[WarningView]


class PreflightView(BaseModel):
    """What would become of an order."""

    algorithm: str
    scans: list[PlannedScanView]
