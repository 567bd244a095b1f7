"""A small picture of a whole area, read strip by strip, so that no single read of a slide without levels takes long."""

from typing import Final

import numpy as np

from worker.geometry.frame import Area, Pixels
from worker.slides.reader import ReadableSlide

_STRIP_PX: Final = 2**28  # level-0 pixels that one read covers: seconds where they are all decoded


def overview(slide: ReadableSlide, area: Area, max_px: int) -> Pixels:
    """A picture of exactly `area`, its longer side `max_px` or, where the area has fewer pixels, all of them."""
    downsample = max(1.0, area.width / max_px, area.height / max_px)
    width_px, height_px = (
        max(1, round(area.width / downsample)),
        max(1, round(area.height / downsample)),
    )
    downsample_x, downsample_y = area.width / width_px, area.height / height_px
    picture = np.empty((height_px, width_px, 3), np.uint8)
    rows = max(1, int(_STRIP_PX / (area.width * downsample_y)))
    for row in range(0, height_px, rows):
        slide.fill(
            picture[row : row + rows],
            area.x,
            area.y + row * downsample_y,
            downsample_x,
            downsample_y,
        )
    return picture
