"""Refuses what an order's template does not allow of regions, as far as an order alone shows it.

The size in square millimetres, and that of a share of the slide, only the slide tells: the worker
checks them.
"""

from broker.errors import OrderError
from broker.orders.request import OrderRequest
from broker.orders.roi import GeoJson, Polygon, Rectangle, Roi


def check_roi_limits(request: OrderRequest) -> None:
    """Raise `OrderError` for regions beyond `roi_limits`: too many, too large or missing."""
    limits = request.roi_limits
    if limits is None:
        return
    if limits.max_count is not None and len(request.scans) > limits.max_count:
        raise OrderError(
            "request_invalid",
            f"scans: there are {len(request.scans)}, and the template allows {limits.max_count}",
            hint="divide the order",
            field="scans",
        )
    for index, scan in enumerate(request.scans):
        field = f"scans[{index}].roi"
        if limits.required and scan.roi in (None, "full"):
            raise OrderError(
                "request_invalid",
                f"{field}: the template takes a region, and no whole slide",
                hint="give a region of the slide",
                field=field,
            )
        width, height = _size_px(scan.roi)
        _check_side(width, limits.max_width_px, f"{field}.width")
        _check_side(height, limits.max_height_px, f"{field}.height")


def _check_side(size_px: float, most_px: int | None, field: str) -> None:
    if most_px is None or size_px <= most_px:
        return
    raise OrderError(
        "roi_too_large",
        f"{field}: the region is {size_px:g} px, and the template allows {most_px} px",
        hint="order a smaller region, or several of them",
        field=field,
    )


def _size_px(roi: Roi | None) -> tuple[float, float]:
    """Return width and height of a region in level-0 pixels; 0 where only the slide tells."""
    if isinstance(roi, Rectangle):
        return roi.width, roi.height
    if isinstance(roi, Polygon | GeoJson):
        points = [point for rings in roi.polygons for point in rings[0]]
        across = [x for x, _ in points]
        down = [y for _, y in points]
        return max(across) - min(across), max(down) - min(down)
    return 0, 0
