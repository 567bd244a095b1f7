"""Regions that are larger than the template of their order allows."""

import pytest

from broker.errors import OrderError
from broker.orders.roi import Percent, Polygon, Rectangle, Roi, RoiLimits
from worker.geometry.frame import Frame
from worker.geometry.roi import check_limits, resolve_roi

FRAME = Frame(4000, 2000, 0.5, 0.25, "slide")
TRIANGLE = Polygon(polygon=((0.0, 0.0), (2000.0, 0.0), (0.0, 2000.0)))


@pytest.mark.parametrize(
    ("roi", "limits", "says"),
    [
        (None, {"max_width_px": 4000, "max_height_px": 2000, "max_area_mm2": 1.0}, ""),
        (None, {"max_width_px": 3999}, "4000 px wide, and may be 3999 px"),
        (Percent(pct=(0, 0, 50, 50)), {"max_height_px": 999}, "1000 px high"),
        ("square", {"max_area_mm2": 0.49}, "0.5 mm² large, and may be 0.49 mm²"),
        (TRIANGLE, {"max_area_mm2": 0.25}, ""),
        (TRIANGLE, {"max_area_mm2": 0.24}, "0.25 mm² large"),
        (Rectangle(x=3000, y=0, width=9000, height=9), {"max_width_px": 1000}, ""),
    ],
)
def test_the_size_on_the_slide_counts(roi: Roi | None, limits: dict[str, float], says: str) -> None:
    """In pixels and in square millimetres; what lies beyond the slide is left out."""
    area = resolve_roi(roi, FRAME)
    if not says:
        check_limits(area, FRAME, RoiLimits.model_validate(limits))
        return
    with pytest.raises(OrderError, match=says.replace(".", r"\.")) as caught:
        check_limits(area, FRAME, RoiLimits.model_validate(limits))
    assert caught.value.code == "roi_too_large"


def test_square_millimetres_need_the_size_of_a_pixel() -> None:
    """Without it nobody can say whether the region is small enough; without a limit nobody asks."""
    frame = Frame(4000, 2000, None, None, None)
    area = resolve_roi(None, frame)
    check_limits(area, frame, None)
    check_limits(area, frame, RoiLimits(max_width_px=4000))
    with pytest.raises(OrderError) as caught:
        check_limits(area, frame, RoiLimits(max_area_mm2=9.0))
    assert caught.value.code == "mpp_missing"
