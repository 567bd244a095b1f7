"""The ordered area, as the public interface for algorithms shows it."""

from collections.abc import Sequence

import numpy as np

from worker.geometry.frame import Area
from worker.geometry.roi import inside, size_px2


class ScanRoi:
    """The area that was ordered."""

    def __init__(self, area: Area) -> None:
        self._area = area
        self.box = (area.x, area.y, area.width, area.height)
        self.polygon: Sequence[tuple[float, float]] = ()
        if area.polygons:
            self.polygon = [(x, y) for x, y in area.polygons[0][0]]
        self.area_px2 = size_px2(area)

    def contains(self, x: float, y: float) -> bool:
        """Return whether the point lies in the area."""
        left, top, width, height = self.box
        if not (left <= x < left + width and top <= y < top + height):
            return False
        if not self.polygon:
            return True
        return bool(inside(np.array([[x, y]], np.float64), self._area)[0])
