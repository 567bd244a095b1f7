"""Where the pixels of a mask lie: in blocks, and in level-0 pixels."""

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from worker.geometry.frame import Floats
from worker.geometry.tile_grid import Grid


@dataclass(frozen=True, slots=True)
class PixelGrid:
    """The pixels of the mask of an area, squares of pixels of a tile.

    They are as coarse as the network answers, or finer where the edges of tiles would cut them.
    `step` and `core` are the pixels from one tile to the next and those of a tile without its halo.
    The mask has `width` x `height` pixels, from the area's top left corner. A block is the square
    of `step` pixels at the top left of a tile; at the right and lower edge it is cut off.
    `scale_x` and `scale_y` are level-0 pixels per pixel.

    An answer leaves out `crop_px` pixels of the tile on each side. One of its numbers stands for
    `repeats` x `repeats` pixels, and the core begins after `margin` pixels.
    """

    crop_px: int
    repeats: int
    margin: int
    step: int
    core: int
    width: int
    height: int
    scale_x: float
    scale_y: float

    @classmethod
    def of(cls, grid: Grid, output_stride: int, crop_px: int) -> Self:
        """Return the pixels for answers of this stride, which leave out `crop_px` on each side."""
        step_px = grid.tile_px - grid.overlap_px
        pixel_px = math.gcd(output_stride, step_px, grid.tile_px, grid.halo_px - crop_px)
        scale_x = pixel_px * grid.downsample_x
        scale_y = pixel_px * grid.downsample_y
        return cls(
            crop_px,
            output_stride // pixel_px,
            (grid.halo_px - crop_px) // pixel_px,
            step_px // pixel_px,
            grid.tile_px // pixel_px,
            math.ceil(grid.area.width / scale_x - 1e-9),
            math.ceil(grid.area.height / scale_y - 1e-9),
            scale_x,
            scale_y,
        )

    def core_of(self, answer: NDArray[Any]) -> NDArray[Any]:
        """Return the core of an answer (..., h, w) for one tile, in pixels: (..., core, core)."""
        if self.repeats > 1:
            answer = answer.repeat(self.repeats, axis=-1).repeat(self.repeats, axis=-2)
        core = slice(self.margin, self.margin + self.core)
        return answer[..., core, core]

    @property
    def columns(self) -> int:
        """The number of blocks in a row."""
        return -(-self.width // self.step)

    def block_shape(self, row: int, column: int) -> tuple[int, int]:
        """Return height and width of a block in pixels."""
        height = min(self.step, self.height - row * self.step)
        width = min(self.step, self.width - column * self.step)
        return height, width

    def core_weights(self) -> Floats:
        """Return the weight of each pixel along the edge of a core.

        It falls linearly over the overlap with the next tile, so that the weights of two tiles
        add up to 1.
        """
        overlap = self.core - self.step
        if not overlap:
            return np.ones(self.core)
        from_start = np.arange(self.core) + 0.5
        from_edge = np.minimum(from_start, self.core - from_start)
        return np.asarray(np.minimum(1, from_edge / overlap))
