"""Merges the classes of pixels, tile by tile, into polygons of the area."""

import shutil
import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from broker.orders.algorithm_card import AlgorithmCard
from worker.algorithms.decoders.geometry import crop_px
from worker.algorithms.output_settings import MaskSettings
from worker.geometry.frame import Frame, microns
from worker.geometry.polygons import touching_pixels
from worker.geometry.tile_grid import Grid, Tile
from worker.inference.merging.mask.blending import NO_CLASS, Blending, BlockAnswer
from worker.inference.merging.mask.blocks import Block, BlockFile, measured
from worker.inference.merging.mask.holes import HoleEdges, filled, outlined, unfilled
from worker.inference.merging.mask.pixel_grid import PixelGrid
from worker.inference.merging.mask.polygons import PolygonMaker
from worker.inference.merging.mask.stitching import LabelledBlock, stitched
from worker.inference.merging.merger import Merged, MergerFiles, SeamState
from worker.progress import Progress
from worker.results.object_store import ObjectStore
from worker.results.objects import Objects, joined

STEP: Final = "polygons"
"""The step that a scan is at while its polygons are made."""
_STATE: Final = struct.Struct("<IQ")
"""Crop in pixels of the tile, and bytes of the file of blocks; what is pending follows."""
_LAST: Final = 2**62


class MaskMerger:
    """Averages tiles that overlap and keeps finished blocks in a file; `finish` makes polygons."""

    seams: SeamState = ()

    def __init__(
        self,
        grid: Grid,
        card: AlgorithmCard,
        settings: MaskSettings,
        frame: Frame,
        kept: MergerFiles,
        progress: Progress,
    ) -> None:
        """Go on from `kept`, where the file of blocks is too."""
        self._grid = grid
        self._card = card
        self._settings = settings
        self._frame = frame
        self._progress = progress
        self._blending: Blending | None = None
        size_bytes = 0
        if kept.state:
            crop, size_bytes = _STATE.unpack_from(kept.state)
            self._blended(crop).restore(kept.state[_STATE.size :])
        self._blocks = BlockFile(kept.folder / "blocks", size_bytes)

    def state(self) -> bytes:
        """Return what a merger that takes over from this one must know beside the file."""
        if not self._blending:
            return b""
        header = _STATE.pack(self._blending.pixels.crop_px, self._blocks.size_bytes)
        return header + self._blending.state()

    def place(self, tiles: Sequence[Tile], answers: Any) -> Objects:
        """Take the answers of the tiles: (N, K, h, w) probabilities or (N, h, w) class numbers.

        The objects come in the end.
        """
        stride = self._settings.output_stride
        crop = crop_px("mask", answers.shape, self._grid.read_px, stride)
        blending = self._blended(crop)
        for tile, answer in zip(tiles, answers, strict=True):
            row, column = divmod(tile.index, self._grid.tiles.columns)
            blending.add(row, column, blending.pixels.core_of(answer))
            self._keep_finished(blending, row, column)
        return joined([])

    def finish(self, found: ObjectStore) -> Merged:
        """Return the polygons, in a store beside `found`, and what they cover."""
        folder = found.folder.with_name("polygons")
        shutil.rmtree(folder, ignore_errors=True)
        store = ObjectStore.begin(folder)
        maker = PolygonMaker(self._card, self._settings, self._frame, self._grid.area)
        if self._blending:
            self._keep_finished(self._blending, _LAST, _LAST)
            pixels = self._blending.pixels
            for parts in stitched(self._filled(pixels, folder), pixels):
                for objects in maker.objects(parts, pixels).chunks():
                    store.append(objects)
        summary, headline = maker.summary()
        return Merged(store, summary, headline)

    def _blended(self, crop: int) -> Blending:
        """Return the blending; only the first answer tells how large the pixels are."""
        if self._blending is None:
            pixels = PixelGrid.of(self._grid, self._settings.output_stride, crop)
            self._blending = Blending(pixels, self._card, self._settings)
        return self._blending

    def _keep_finished(self, blending: Blending, row: int, column: int) -> None:
        """Write the blocks that no tile after this one adds to."""
        every_class = self._settings.fill_holes_um2 > 0
        for answer in blending.finished(row, column):
            inside = self._inside_area(answer, blending.pixels)
            # without holes to fill the background is as good as a missing block
            if every_class or inside.values.any():
                self._blocks.append(measured(inside, every_class=every_class))

    def _inside_area(self, answer: BlockAnswer, pixels: PixelGrid) -> BlockAnswer:
        """Return the answer with what lies outside of the area's polygons as background."""
        area = self._grid.area
        if not area.polygons:
            return answer
        left = area.x + answer.column * pixels.step * pixels.scale_x
        top = area.y + answer.row * pixels.step * pixels.scale_y
        size = (pixels.scale_x, pixels.scale_y)
        is_inside = touching_pixels(area, (left, top), size, answer.values.shape)
        if is_inside.all():
            return answer
        probabilities = answer.probabilities
        if probabilities is not None:
            probabilities = probabilities * is_inside
        return replace(
            answer,
            values=np.where(is_inside, answer.values, NO_CLASS),
            probabilities=probabilities,
            is_known=answer.is_known & is_inside,
        )

    def _filled(self, pixels: PixelGrid, folder: Path) -> Iterator[LabelledBlock]:
        """Return the blocks with their holes filled, if holes are to be filled."""
        mpp_x, mpp_y = microns(self._frame)
        pixel_um2 = pixels.scale_x * mpp_x * pixels.scale_y * mpp_y
        limit_pixels = self._settings.fill_holes_um2 / pixel_um2
        if not limit_pixels:
            return map(unfilled, self._reported(pixels, 0, 1))
        beside = folder.with_name("holes")
        shutil.rmtree(beside, ignore_errors=True)
        holes = HoleEdges(beside, pixels, limit_pixels)
        for parts in stitched(map(outlined, self._reported(pixels, 0, 2)), pixels):
            holes.add(parts)
        return filled(self._reported(pixels, 1, 2), holes, pixels)

    def _reported(self, pixels: PixelGrid, turn: int, turns: int) -> Iterator[Block]:
        """Yield all blocks, and report how far that is at every row."""
        rows = -(-pixels.height // pixels.step)
        last_row = -1
        for block in self._blocks.blocks():
            if block.row > last_row:
                last_row = block.row
                self._progress.report(STEP, turn * rows + block.row, turns * rows)
            yield block
