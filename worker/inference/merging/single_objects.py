"""Decides which of the objects that an algorithm found in tiles are delivered."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from broker.orders.algorithm_card import AlgorithmCard
from worker.algorithms.output_settings import ObjectsSettings
from worker.geometry.frame import Floats, Frame, microns
from worker.geometry.outlines import sizes_px2, without_small_turns
from worker.geometry.tile_grid import Grid, Tile
from worker.inference.merging.merger import Merged, SeamState
from worker.inference.merging.seams import SeamMerger
from worker.inference.merging.suppression import Rules, survivors
from worker.results.object_store import ObjectStore
from worker.results.objects import Objects, joined

Mask = NDArray[np.bool_]
_ROUNDING: Final = 1e-9
"""The share by which the computed size of an object may be off."""


class ObjectMerger:
    """Merges single objects: each once, without those that the settings leave out.

    Left out are objects of the background class, with a lower score than the threshold, smaller or
    larger than asked for, and cut by the rim of what the algorithm saw. Where objects compete for
    one place, the likeliest stays.
    """

    def __init__(
        self,
        grid: Grid,
        frame: Frame,
        card: AlgorithmCard,
        settings: ObjectsSettings,
        seams: SeamState = (),
    ) -> None:
        """`seams` is the state of the merger that this one takes over from."""
        self._grid = grid
        self._frame = frame
        self._settings = settings
        self._is_background = np.array([entry.background for entry in card.classes], np.bool_)
        mpp_x, mpp_y = microns(frame)
        self._um2_per_px2 = mpp_x * grid.downsample_x * mpp_y * grid.downsample_y
        # The nucleus and the cell around it have one centre, and are two objects.
        self._seams = SeamMerger(grid, seams, classes_apart=len(settings.layers) > 1)

    @property
    def seams(self) -> SeamState:
        """What a merger that takes over from this one must know."""
        return self._seams.seams

    def place(self, tiles: Sequence[Tile], found: Sequence[Objects]) -> Objects:
        """Return the objects of these tiles that may be delivered, in level-0 pixels."""
        placed = []
        for objects, tile in zip(found, tiles, strict=True):
            wanted = objects.selected(self._is_wanted(objects, tile))
            placed.append(self._seams.add(wanted, tile))
        merged = joined(placed)
        if self._settings.simplify_um and len(merged):
            tolerance_px = self._settings.simplify_um / max(microns(self._frame))
            return replace(merged, outlines=without_small_turns(merged.outlines, tolerance_px))
        return merged

    def finish(self, found: ObjectStore) -> Merged:
        """Return the objects without those that a likelier one suppresses."""
        settings = self._settings
        rules = Rules(
            settings.least_distance_um,
            settings.most_iou,
            settings.nms_across_classes,
            microns(self._frame),
        )
        if not rules.is_on or not len(found):
            return Merged(found)
        kept = survivors(found, rules)
        if kept.all():
            return Merged(found)
        store = begin_beside(found, "kept")
        start = 0
        for chunk in found.chunks():
            store.append(chunk.selected(kept[start : start + len(chunk)]))
            start += len(chunk)
        return Merged(store)

    def _is_wanted(self, found: Objects, tile: Tile) -> Mask:
        """Return which objects of a tile the settings let through."""
        settings = self._settings
        # as float32, in which a network answers: its 0.9 is no less than a threshold of 0.9
        is_wanted = found.scores.astype(np.float32) >= np.float32(settings.least_score)
        is_wanted &= ~self._is_background[found.classes]
        if found.at_rim.size:
            is_wanted &= ~self._is_cut(found, tile)
        if settings.min_area_um2 > 0 or settings.max_area_um2 is not None:
            sizes_um2 = sizes_px2(found.outlines) * self._um2_per_px2
            is_wanted &= sizes_um2 * (1 + _ROUNDING) >= settings.min_area_um2
            if settings.max_area_um2 is not None:
                is_wanted &= sizes_um2 * (1 - _ROUNDING) <= settings.max_area_um2
        return np.asarray(is_wanted)

    def _is_cut(self, found: Objects, tile: Tile) -> Mask:
        """Return which objects touch the rim of what was answered, where the slide goes on."""
        is_cut = np.zeros(len(found), np.bool_)
        numbers = np.flatnonzero(found.at_rim.any(axis=1))
        if len(numbers):
            rings = [found.outlines[number] for number in numbers.tolist()]
            is_cut[numbers] = (found.at_rim[numbers] & self._slide_goes_on(rings, tile)).any(axis=1)
        return is_cut

    def _slide_goes_on(self, outlines: Sequence[Floats], tile: Tile) -> Mask:
        """Return whether there is slide left, above, right and below of each outline, (N, 4)."""
        lengths = np.array([len(outline) for outline in outlines])
        starts = lengths.cumsum() - lengths
        points = self._seams.level0(np.concatenate(outlines), tile)
        left, top = np.minimum.reduceat(points, starts).T
        right, bottom = np.maximum.reduceat(points, starts).T
        width = self._frame.width - _ROUNDING * self._frame.width
        height = self._frame.height - _ROUNDING * self._frame.height
        sides = [left > _ROUNDING, top > _ROUNDING, right < width, bottom < height]
        return np.stack(sides, axis=1)


def begin_beside(found: ObjectStore, name: str) -> ObjectStore:
    """Return an empty store beside `found`. What a lost attempt left there is removed."""
    folder = found.folder.with_name(name)
    shutil.rmtree(folder, ignore_errors=True)
    return ObjectStore.begin(folder)
