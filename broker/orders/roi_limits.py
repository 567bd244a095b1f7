"""What a template allows of the regions of an order: how many, and how large each may be."""

from typing import Annotated

from pydantic import ConfigDict, Field

from broker.orders.fields import MAX_COORDINATE, RequestModel

_Px = Annotated[int | None, Field(ge=1, le=MAX_COORDINATE)]


class RoiLimits(RequestModel):
    """Bounds of the regions of one order. What only the slide can tell, the worker checks."""

    model_config = ConfigDict(strict=False)  # settings come as text from the environment

    required: bool = Field(False, description="a whole slide is refused")
    max_area_mm2: Annotated[
        float | None, Field(gt=0, description="of each region; the microns per pixel tell it")
    ] = None
    max_width_px: Annotated[_Px, Field(description="of each region, in level-0 pixels")] = None
    max_height_px: Annotated[_Px, Field(description="of each region, in level-0 pixels")] = None
    max_count: Annotated[
        int | None, Field(ge=1, le=64, description="regions, which are scans, of one order")
    ] = None
