"""Questions of the API about what an algorithm would read of a slide, and their answers."""

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from broker.errors import OrderError
from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.fields import COARSEST_MPP, FINEST_MPP
from broker.orders.roi import Roi, RoiLimits
from worker.geometry.frame import Frame, MppSource
from worker.geometry.tile_plan import plan_tiles, with_mpp

_MOST_BYTES: Final = 2**21


class TileQuestion(BaseModel):
    """How many tiles does the algorithm of this card read of this region?

    `mpp` counts where the slide states no microns per pixel; `mpp_source` says whose word it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    card: AlgorithmCard
    roi: Roi | None = None
    roi_limits: RoiLimits | None = None
    mpp: Annotated[float | None, Field(gt=FINEST_MPP, lt=COARSEST_MPP)] = None
    mpp_source: MppSource = "order"

    def answer(self, frame: Frame) -> dict[str, Any]:
        """Return the answer for the slide with this frame. Raise `OrderError`."""
        frame = with_mpp(frame, self.mpp, self.mpp_source)
        plan = plan_tiles(self.card, self.roi, self.roi_limits, frame)
        return {
            "width": plan.frame.width,
            "height": plan.frame.height,
            "mpp_x": plan.frame.mpp_x,
            "mpp_y": plan.frame.mpp_y,
            "mpp_source": plan.frame.mpp_source,
            "tiles": plan.tiles,
            "warnings": [warning.model_dump() for warning in plan.warnings],
        }


async def read_question(request: Request) -> TileQuestion:
    """Return the question in the body of a request. Raise `OrderError`."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MOST_BYTES:
            raise OrderError("body_too_large", f"at most {_MOST_BYTES} bytes are read")
    try:
        return TileQuestion.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise OrderError("request_invalid", f"{place}: {first['msg']}", field=place) from None
