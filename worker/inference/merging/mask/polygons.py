"""Turns whole connected parts into polygons in level-0 pixels, and counts what they cover."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from broker.orders.algorithm_card import AlgorithmCard
from worker.algorithms.output_settings import MaskSettings
from worker.geometry import polygons as geometry
from worker.geometry.frame import Area, Floats, Frame, Ints, microns
from worker.geometry.polygons import Polygons
from worker.geometry.roi import size_mm2
from worker.inference.merging.mask.pixel_grid import PixelGrid
from worker.inference.merging.mask.stitching import Parts
from worker.results.objects import Objects


class PolygonMaker:
    """Makes the objects of an area and adds up their sizes by class."""

    def __init__(
        self, card: AlgorithmCard, settings: MaskSettings, frame: Frame, area: Area
    ) -> None:
        self._classes = card.classes
        self._settings = settings
        self._frame = frame
        self._area = area
        self._microns = microns(frame)
        self._area_um2 = np.zeros(len(card.classes))
        self._count = np.zeros(len(card.classes), np.int64)

    def objects(self, parts: Parts, pixels: PixelGrid) -> Objects:
        """Return the polygons of whole parts, cut at the border of the area.

        Those smaller than `min_area_um2` are left out; sizes are those before simplification.
        """
        mpp_x, mpp_y = self._microns
        found = self._built(parts, pixels)
        found, sources = geometry.clipped(found, self._area)
        areas_um2 = geometry.areas_px2(found) * mpp_x * mpp_y
        # A half of a billionth: the microns of a pixel are no exact number.
        is_kept = areas_um2 >= self._settings.min_area_um2 * (1 - 1e-9)
        found = found[is_kept]
        sources = sources[is_kept]
        classes = parts.values[sources].astype(np.int64) - 1
        self._area_um2 += np.bincount(classes, areas_um2[is_kept], len(self._area_um2))
        self._count += np.bincount(classes, minlength=len(self._count))
        if self._settings.simplify_um > 0 and len(found):
            tolerance_px = (self._settings.simplify_um / mpp_x, self._settings.simplify_um / mpp_y)
            found = geometry.simplified(found, self._area, tolerance_px)
        scores = parts.sums[sources] / np.maximum(parts.known[sources], 1)
        return _objects(found, classes, scores.clip(0, 1))

    def summary(self) -> tuple[dict[str, Any], str]:
        """Return sizes and numbers of the polygons so far, and a headline; without background."""
        shown = [number for number, entry in enumerate(self._classes) if not entry.background]
        total_um2 = float(self._area_um2.sum())
        areas_mm2: dict[str, float] = {}
        shares: dict[str, float | None] = {}
        counts: dict[str, int] = {}
        words: list[str] = []
        for number in shown:
            entry = self._classes[number]
            areas_mm2[entry.name] = float(self._area_um2[number]) / 1e6
            counts[entry.name] = int(self._count[number])
            shares[entry.name] = None
            if total_um2:
                share = float(self._area_um2[number]) / total_um2
                shares[entry.name] = share
                words.append(f"{entry.label} {areas_mm2[entry.name]:.4g} mm² ({100 * share:.1f} %)")
        summary = {
            "area_mm2": size_mm2(self._area, self._frame),
            "area_mm2_by_class": areas_mm2,
            "share_by_class": shares,
            "polygons_by_class": counts,
        }
        if not words:
            return summary, "nothing found"
        return summary, ", ".join(words)

    def _built(self, parts: Parts, pixels: PixelGrid) -> Polygons:
        """Return one polygon for each part; the right and lower edge of the area cut pixels."""
        area = self._area
        scale = (pixels.scale_x, pixels.scale_y)
        points = (area.x, area.y) + parts.rings.points * scale
        points = np.minimum(points, (area.x + area.width, area.y + area.height))
        return geometry.built(points, parts.rings.ring_of_points(), parts.rings.owners)


def _objects(found: Polygons, classes: Ints, scores: Floats) -> Objects:
    rings: Sequence[Sequence[Floats]] = geometry.open_rings(found)
    holes: tuple[tuple[Floats, ...], ...] = ()
    if any(len(one) > 1 for one in rings):
        holes = tuple(tuple(one[1:]) for one in rings)
    return Objects(
        geometry.inner_points(found), tuple(one[0] for one in rings), classes, scores, holes=holes
    )
