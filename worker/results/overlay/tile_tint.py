"""Tints tiles in the colours of their classes, so that the tissue shows through."""

from collections.abc import Iterable
from typing import Final

import cv2
import numpy as np

from worker.geometry.frame import Pixels
from worker.results.objects import ObjectSource
from worker.results.overlay.tile_colors import Box

TINT: Final = 0.6
"""The share of its class's colour in a square whose class is certain."""

_Color = tuple[int, int, int]


def tint_squares(
    canvas: Pixels, boxes: Iterable[Box], tiles: ObjectSource, colors: list[_Color]
) -> None:
    """Tint the picture's squares in place: the higher the score, the stronger."""
    each = iter(boxes)
    for chunk in tiles.chunks():
        for number, score in zip(chunk.classes.tolist(), chunk.scores.tolist(), strict=True):
            left, top, right, bottom = next(each)
            square = canvas[top:bottom, left:right]
            strength = TINT * score
            # looked up for each of 256 values, where mixing each pixel took ten times as long
            values = np.arange(256, dtype=np.uint8)[:, None]
            mixed = values * (1 - strength) + np.array(colors[number]) * strength
            square[...] = cv2.LUT(square, mixed.astype(np.uint8)[None])


def with_mean_tint(
    canvas: Pixels, boxes: Iterable[Box], tiles: ObjectSource, colors: list[_Color]
) -> Pixels:
    """Return the picture with each pixel tinted by the mean of the squares that cover it."""
    tint = np.zeros(canvas.shape, np.float32)
    strength = np.zeros(canvas.shape[:2], np.float32)
    covering = np.zeros(canvas.shape[:2], np.float32)
    palette = np.array(colors, np.float32)
    each = iter(boxes)
    for chunk in tiles.chunks():
        shares = (TINT * chunk.scores).tolist()
        for color, share in zip(palette[chunk.classes], shares, strict=True):
            left, top, right, bottom = next(each)
            tint[top:bottom, left:right] += color * share
            strength[top:bottom, left:right] += share
            covering[top:bottom, left:right] += 1
    covering = np.maximum(covering, 1)[..., None]
    below = canvas * (1 - strength[..., None] / covering)
    mixed: Pixels = (below + tint / covering).astype(np.uint8)
    return mixed
