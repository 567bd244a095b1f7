"""The canvas of a slide, an area on it, and the types of the arrays that describe both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from broker.errors import OrderError
from broker.orders.roi import Ring, Rings

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

    With `polygons`, the area is the part of the box inside one of them. Each is its outline and
    then its holes, rings of (x, y) in level-0 pixels that are not closed. They may reach beyond the
    box: `worker.geometry.roi.polygon_rings` returns what is left of them.
    """

    x: int
    y: int
    width: int
    height: int
    polygons: tuple[Rings, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the area as every result states it.

        A simple polygon is stated as `polygon`, its points; one with holes, and several, as
        `polygons`, the rings of each.
        """
        area: dict[str, Any] = {
            "x": self.x,
            "y": self.y,
            "width": self.width,
            "height": self.height,
        }
        polygons = [[_as_lists(ring) for ring in rings] for rings in self.polygons]
        if len(polygons) == 1 and len(polygons[0]) == 1:
            area["polygon"] = polygons[0][0]
        elif polygons:
            area["polygons"] = polygons
        return area

    @classmethod
    def from_dict(cls, area: Mapping[str, Any]) -> Self:
        """Return the area that `as_dict` stated."""
        given = area.get("polygons", ())
        if "polygon" in area:
            given = [[area["polygon"]]]
        polygons = tuple(tuple(map(_as_ring, rings)) for rings in given)
        return cls(area["x"], area["y"], area["width"], area["height"], polygons)


def _as_ring(points: Sequence[Sequence[float]]) -> Ring:
    return tuple((x, y) for x, y in points)


def _as_lists(ring: Ring) -> list[list[float]]:
    return [list(point) for point in ring]


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
