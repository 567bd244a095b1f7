"""Overviews: small images of a large area."""

from typing import Final

import numpy as np

from worker.geometry.frame import Area, Pixels
from worker.slides.reader import ReadableSlide

_STRIP_PX: Final = 2**28  # level-0 pixels of one read: seconds if all of them must be decoded


def read_overview(slide: ReadableSlide, area: Area, max_px: int) -> Pixels:
    """Return an image of exactly `area`, (height_px, width_px, 3).

    Its longer side has `max_px` pixels, or all of the area's if those are fewer. The area is read
    in strips, so that no single read of a slide without levels takes long.
    """
    downsample = max(1.0, area.width / max_px, area.height / max_px)
    width_px = max(1, round(area.width / downsample))
    height_px = max(1, round(area.height / downsample))
    downsample_x = area.width / width_px
    downsample_y = area.height / height_px
    image = np.empty((height_px, width_px, 3), np.uint8)
    strip_rows = max(1, int(_STRIP_PX / (area.width * downsample_y)))
    for row in range(0, height_px, strip_rows):
        strip = image[row : row + strip_rows]
        slide.fill(strip, area.x, area.y + row * downsample_y, downsample_x, downsample_y)
    return image
