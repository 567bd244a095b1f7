"""The canvas of a slide, an area on it, and the types of the arrays that describe both."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from broker.errors import OrderError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Pixels = NDArray[np.uint8]
MppSource = Literal["slide", "tiff", "server", "order", "locator", "none"]
"""Where the microns per pixel come from: the slide's own metadata, its TIFF resolution tags, its
image server, the order, the case locator, or nowhere."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The level-0 canvas of a slide: pixels, x right, y down, origin top left, half-open boxes.

    `mpp_x` and `mpp_y` are microns per level-0 pixel. `bounds_x` and `bounds_y` are OpenSlide's
    `openslide.bounds-x` and `openslide.bounds-y`: where the scanned part begins, in level-0 pixels.
    """

    width: int
    height: int
    mpp_x: float | None
    mpp_y: float | None
    mpp_source: MppSource
    bounds_x: int = 0
    bounds_y: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the frame as every result states it."""
        return {
            "frame": "level0",
            "width": self.width,
            "height": self.height,
            "bounds_offset": [self.bounds_x, self.bounds_y],
            "mpp_x": self.mpp_x,
            "mpp_y": self.mpp_y,
            "mpp_source": self.mpp_source,
        }


@dataclass(frozen=True, slots=True)
class Area:
    """A half-open box in level-0 pixels that lies inside the slide.

    With a `polygon`, (x, y) in level-0 pixels, the area is the part of the box inside the polygon.
    """

    x: int
    y: int
    width: int
    height: int
    polygon: tuple[tuple[float, float], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the area as every result states it."""
        area: dict[str, Any] = {
            "x": self.x,
            "y": self.y,
            "width": self.width,
            "height": self.height,
        }
        if self.polygon:
            area["polygon"] = [list(point) for point in self.polygon]
        return area


def microns(frame: Frame) -> tuple[float, float]:
    """Return the microns per level-0 pixel in x and y.

    Raises OrderError: `mpp_missing` where the frame has none.
    """
    if frame.mpp_x is None or frame.mpp_y is None:
        raise OrderError(
            "mpp_missing",
            "Nothing believable says how large a pixel is: not the slide, "
            "not its TIFF resolution, not the order",
            hint="give the scan's `mpp`, microns per level-0 pixel, with the order",
            field="mpp",
        )
    return frame.mpp_x, frame.mpp_y
