"""Colours tiles by what an algorithm answers for them: attention, or the look of their vectors."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from worker.geometry.frame import Floats, Pixels
from worker.results.objects import ObjectSource
from worker.results.overlay.components import component_colors
from worker.results.result import Result

OPACITY: Final = 0.8
"""The share of its colour in a tile; the rest is the tissue, in grey, so that it stays visible."""
_COOL_TO_WARM: Final = np.array(
    [
        (59, 76, 192), (98, 130, 234), (141, 176, 254), (184, 208, 249), (221, 221, 221),
        (245, 196, 173), (244, 154, 123), (222, 96, 77), (180, 4, 38),
    ],
    np.float64,
)  # fmt: skip
"""Moreland, "Diverging Color Maps for Scientific Visualization" (2009): blue to red, in which
colour-blind people see the order too."""

Box = tuple[int, int, int, int]
"""Left, top, right and bottom of a tile in pixels of the picture."""


@dataclass(frozen=True, slots=True)
class TileColors:
    """A colour for each of the tiles, (T, 3) RGB, and what the colours mean.

    `ends` names the two ends of a scale from blue to red, empty where the colours are no scale.
    """

    tiles: ObjectSource
    colors: Pixels
    meaning: str
    ends: tuple[str, str] | None = None


def tile_colors(result: Result) -> TileColors | None:
    """Return the colours of the result's tiles; None where none has a vector or attention."""
    embeddings = result.findings.embeddings
    objects = result.findings.objects
    if embeddings is None or not len(objects):
        return None
    if result.card.output == "slide":
        return _attention_colors(objects, result.card.scope)
    meaning = "Tiles of similar colour have similar embeddings: their first three principal "
    meaning += "components as red, green and blue."
    return TileColors(embeddings.tiles, component_colors(embeddings), meaning)


def scale_colors(shares: Floats) -> Pixels:
    """Return the colours (N, 3) of shares (N,) of the scale, from 0 (blue) to 1 (red)."""
    places = np.linspace(0, 1, len(_COOL_TO_WARM))
    channels = [np.interp(shares, places, _COOL_TO_WARM[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def painted(picture: Pixels, boxes: Iterable[Box], colors: Pixels) -> Pixels:
    """Return the picture with the boxes in their colours, over its tissue in grey."""
    layer = picture.copy()
    is_covered = np.zeros(picture.shape[:2], np.bool_)
    for (left, top, right, bottom), color in zip(boxes, colors, strict=True):
        layer[top:bottom, left:right] = color
        is_covered[top:bottom, left:right] = True
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[is_covered][:, None].astype(np.float32)
    # multiplied, the tissue's structure shows in the colour as well as below it
    colored = layer[is_covered] * (0.35 + 0.65 * grey / 255)
    layer[is_covered] = (grey + (colored - grey) * OPACITY).astype(np.uint8)
    return layer


def _attention_colors(tiles: ObjectSource, scope: str) -> TileColors:
    shares: list[NDArray[np.float64]] = [np.empty(0)]
    shares.extend(chunk.measurements[:, 1] for chunk in tiles.chunks())
    among = "the tiles"
    if scope == "case":
        among = "the tiles of the case"
    ends = ("least attention", f"most attention (rank among {among})")
    return TileColors(tiles, scale_colors(np.concatenate(shares)), "", ends)
