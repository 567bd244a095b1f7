"""Computes the labelling index from place to place, and the fields where it is highest.

Where nuclei are too many to be outlined, this shows what they say. A class titled `Positive` is
what the index counts, as in QuPath.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from broker.orders.algorithm_card import AlgorithmCard
from worker.geometry.frame import Floats, Ints, Pixels
from worker.results.objects import ObjectSource

POSITIVE: Final = "Positive"
SIGMA_UM: Final = 100.0
"""The index at a place is that of its surroundings, weighted by a Gaussian of this deviation."""
FIELD_UM: Final = 500.0
"""The diameter of a hotspot: a field of 0.2 mm2, as a microscope shows at 400 times."""
FIELD_OBJECTS: Final = 100
"""A field with fewer objects is no hotspot, because its index would be chance."""
HOTSPOTS: Final = 3
DENSE_SHARE: Final = 0.6
"""Nor is one with less than this share of the objects of a typical field: it is half glass."""
NEAR_UM: Final = 30.0
"""Colours end about so far from the last object."""
CELL_UM: Final = 20.0
"""Objects are counted in square cells of about this edge, before the surroundings are summed."""
SCALE_ENDS_PCT: Final = (5, 10, 15, 20, 30, 40, 50, 60, 80, 100)
"""The colour scale ends at the first of these that no place exceeds."""
OPACITY: Final = 0.9
_COLORS: Final = cv2.COLORMAP_VIRIDIS

_Map = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Hotspot:
    """A field around `centre`, x and y in pixels of the picture, and what was counted in it."""

    centre: tuple[int, int]
    radius_px: tuple[float, float]
    positive: int
    objects: int

    @property
    def index_pct(self) -> float:
        """The percentage of positive objects."""
        return 100 * self.positive / self.objects


@dataclass(frozen=True, slots=True)
class IndexMap:
    """The index at every pixel of a picture, in percent; `objects` is 0 where there are none near.

    `scale_end_pct` is where the colour scale ends.
    """

    index_pct: _Map
    objects: _Map
    scale_end_pct: int
    hotspots: tuple[Hotspot, ...]

    def painted(self, picture: Pixels) -> Pixels:
        """Return the picture in grey, times the colours of the index where there are objects."""
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
        colors = scale_colors(self.index_pct / self.scale_end_pct) * (grey / 255)
        opacity = OPACITY * self.objects.clip(0, 1)[..., None]
        painted: Pixels = (grey + (colors - grey) * opacity).astype(np.uint8)
        return painted

    @property
    def scale_words(self) -> tuple[str, str]:
        """What stands at the beginning and at the end of the colour scale."""
        around = f"within some {2 * SIGMA_UM:g} \u00b5m of a place"
        return "0 %", f"{self.scale_end_pct} % positive, {around}"

    @property
    def hotspot_words(self) -> list[str]:
        """What the circles on the map are, word by word."""
        if not self.hotspots:
            return []
        words = f"Fields of {FIELD_UM / 1000:g} mm with the highest index:".split()
        for number, hotspot in enumerate(self.hotspots, start=1):
            words.append(f" {number}: {hotspot.index_pct:.1f} % of {hotspot.objects:,} ")
        return words


def positive_class(card: AlgorithmCard) -> int | None:
    """Return the number of the class that the index counts; None where the card has no such one."""
    for number, entry in enumerate(card.classes):
        if entry.title == POSITIVE and len(card.classes) > 1:
            return number
    return None


def scale_colors(shares: Floats | _Map) -> NDArray[np.float32]:
    """Return the colours, RGB, of shares of the scale from 0 to 1."""
    steps = np.rint(np.clip(shares, 0, 1) * 255).astype(np.uint8)
    bgr = cv2.applyColorMap(steps, _COLORS)
    return np.asarray(bgr[..., ::-1], np.float32)


def index_map(objects: ObjectSource, positive: int, view: "PictureView") -> IndexMap:
    """Return the index of the class `positive` for a picture."""
    every = np.zeros(view.cells, np.float32)
    hits = np.zeros(view.cells, np.float32)
    for chunk in objects.chunks():
        row, column = view.cells_of(chunk.centres)
        is_positive = chunk.classes == positive
        np.add.at(every, (row, column), 1)
        np.add.at(hits, (row[is_positive], column[is_positive]), 1)
    around = smoothed(every, view, SIGMA_UM)
    share = smoothed(hits, view, SIGMA_UM) / np.maximum(around, np.float32(1e-9))
    index_pct = np.asarray(100 * share, np.float32)
    near = smoothed(every, view, NEAR_UM)
    near /= 0.15 * (near * every).sum() / every.sum()
    highest_pct = min(float(index_pct[near > 0.5].max(initial=0)), 100)
    scale_end_pct = next(end for end in SCALE_ENDS_PCT if end >= highest_pct)
    hotspots = _hotspots(objects, positive, view, every, hits)
    return IndexMap(view.enlarged(index_pct), view.enlarged(near), scale_end_pct, hotspots)


@dataclass(frozen=True, slots=True)
class PictureView:
    """Converts level-0 pixels to pixels of a picture, and those to cells of `cell_px` pixels.

    `shape` is the picture's height and width. Its pixels have a size in microns, x and y.
    """

    origin: tuple[int, int]
    px_per_level0: tuple[float, float]
    um_per_px: tuple[float, float]
    shape: tuple[int, int]

    @property
    def cell_px(self) -> int:
        """The edge of a cell in pixels of the picture."""
        return max(1, round(CELL_UM / max(self.um_per_px)))

    @property
    def cells(self) -> tuple[int, int]:
        """The rows and columns of cells that cover the picture."""
        return -(-self.shape[0] // self.cell_px), -(-self.shape[1] // self.cell_px)

    def in_cells(self, length_um: float) -> tuple[float, float]:
        """Return a length as cells along x and along y."""
        x = length_um / self.um_per_px[0] / self.cell_px
        return x, length_um / self.um_per_px[1] / self.cell_px

    def points(self, level0: Floats) -> Floats:
        """Return points as pixels of the picture, (N, 2), whose corner is (0, 0)."""
        return np.asarray((level0 - self.origin) * self.px_per_level0)

    def cells_of(self, level0: Floats) -> tuple[Ints, Ints]:
        """Return the rows and columns of the cells that hold the points."""
        cells = np.floor(self.points(level0) / self.cell_px).astype(np.int64)
        rows, columns = self.cells
        return cells[:, 1].clip(0, rows - 1), cells[:, 0].clip(0, columns - 1)

    def enlarged(self, cells: _Map) -> _Map:
        """Return the values of cells at every pixel of the picture."""
        height, width = self.shape
        size = (cells.shape[1] * self.cell_px, cells.shape[0] * self.cell_px)
        large = cv2.resize(cells, size, interpolation=cv2.INTER_LINEAR)
        return np.asarray(large[:height, :width], np.float32)


def smoothed(counts: _Map, view: PictureView, sigma_um: float) -> _Map:
    """Return the mean of the surroundings of each cell, weighted by a Gaussian."""
    sigma_x, sigma_y = view.in_cells(sigma_um)
    smooth = cv2.GaussianBlur(
        counts, (0, 0), sigma_x, sigmaY=sigma_y, borderType=cv2.BORDER_CONSTANT
    )
    return np.asarray(smooth, np.float32)


def _hotspots(
    objects: ObjectSource, positive: int, view: PictureView, every: _Map, hits: _Map
) -> tuple[Hotspot, ...]:
    """Return fields that do not overlap, the highest index first."""
    radius_x, radius_y = view.in_cells(FIELD_UM / 2)
    field = disc(radius_x, radius_y)
    in_field = cv2.filter2D(every, -1, field, borderType=cv2.BORDER_CONSTANT)
    hits_in_field = cv2.filter2D(hits, -1, field, borderType=cv2.BORDER_CONSTANT)
    index = hits_in_field / np.maximum(in_field, 1)
    typical = float((in_field * every).sum() / every.sum())
    index[in_field < max(FIELD_OBJECTS, DENSE_SHARE * typical)] = 0
    found = best_fields(objects, positive, view, index, 0)
    with_enough = [hotspot for hotspot in found if hotspot.objects >= FIELD_OBJECTS]
    return tuple(sorted(with_enough, key=_by_index, reverse=True))


def best_fields(
    objects: ObjectSource, positive: int, view: PictureView, worth: NDArray[Any], above: float
) -> list[Hotspot]:
    """Return at most `HOTSPOTS` fields that do not overlap, around the cells that are worth most.

    `worth` is a number for each cell, which must exceed `above`; it is set to 0 around each field.
    """
    radius_x, radius_y = view.in_cells(FIELD_UM / 2)
    axes = (math.ceil(2 * radius_x), math.ceil(2 * radius_y))
    found: list[Hotspot] = []
    while len(found) < HOTSPOTS and worth.max() > above:
        row, column = np.unravel_index(int(worth.argmax()), worth.shape)
        cell = (int(column), int(row))
        found.append(_counted(objects, positive, view, cell))
        cv2.ellipse(worth, cell, axes, 0, 0, 360, 0, -1)
    return found


def disc(radius_x: float, radius_y: float) -> _Map:
    """Return a filter that sums over an ellipse of these half axes."""
    reach_x = int(radius_x)
    reach_y = int(radius_y)
    y, x = np.mgrid[-reach_y : reach_y + 1, -reach_x : reach_x + 1]
    return np.asarray((x / radius_x) ** 2 + (y / radius_y) ** 2 <= 1, np.float32)


def _counted(
    objects: ObjectSource, positive: int, view: PictureView, cell: tuple[int, int]
) -> Hotspot:
    """Count the objects whose centres lie in the field around a cell, exactly."""
    centre = ((cell[0] + 0.5) * view.cell_px, (cell[1] + 0.5) * view.cell_px)
    radius_px = (FIELD_UM / 2 / view.um_per_px[0], FIELD_UM / 2 / view.um_per_px[1])
    count = 0
    hits = 0
    for chunk in objects.chunks():
        away = (view.points(chunk.centres) - centre) / radius_px
        inside = (away**2).sum(axis=1) <= 1
        count += int(inside.sum())
        hits += int((inside & (chunk.classes == positive)).sum())
    return Hotspot((round(centre[0]), round(centre[1])), radius_px, hits, count)


def _by_index(hotspot: Hotspot) -> float:
    return hotspot.index_pct
