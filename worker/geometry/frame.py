"""The frozen values that travel along the bench. They import no service and know no library but numpy."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from broker.errors import OrderError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Pixels = NDArray[np.uint8]
MppSource = Literal["slide", "tiff", "server", "order", "locator", "none"]
"""Whose word the microns per pixel are: the slide's, its TIFF tags', its image server's, the order's, the locator's."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The level-0 canvas of a slide: pixels, x right, y down, origin top-left, half-open boxes."""

    width: int
    height: int
    mpp_x: float | None
    mpp_y: float | None
    mpp_source: MppSource
    bounds_x: int = 0
    bounds_y: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The frame as every result states it."""
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
    """A half-open box in level-0 pixels, wholly inside the slide; of it, what the `polygon` encloses."""

    x: int
    y: int
    width: int
    height: int
    polygon: tuple[tuple[float, float], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The area as every result states it."""
        box = {"x": self.x, "y": self.y, "width": self.width, "height": self.height}
        return box | ({"polygon": [list(point) for point in self.polygon]} if self.polygon else {})


def microns(frame: Frame) -> tuple[float, float]:
    """Microns per level-0 pixel in x and y. Raises `OrderError`: `mpp_missing`."""
    if frame.mpp_x is None or frame.mpp_y is None:
        raise OrderError(
            "mpp_missing",
            "Nothing believable says how large a pixel is: not the slide, not its TIFF resolution, not the order",
            hint="give the scan's `mpp`, microns per level-0 pixel, with the order",
            field="mpp",
        )
    return frame.mpp_x, frame.mpp_y
