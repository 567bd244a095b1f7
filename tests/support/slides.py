"""Tiny slides made by the tests: lossless, so that every pixel read back can be compared."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from worker.geometry.frame import Pixels

LOSSLESS: Mapping[str, Any] = {"photometric": "rgb", "compression": "zlib"}
JPEG_RGB: Mapping[str, Any] = {
    "photometric": "rgb",
    "compression": "jpeg",
    "compressionargs": {"level": 90},
}
JPEG_YCBCR: Mapping[str, Any] = JPEG_RGB | {"photometric": "ycbcr", "subsampling": (2, 2)}
_APERIO = "Aperio Image Library v11.2.1\r\n"


def a_picture(width: int, height: int, seed: int = 0) -> Pixels:
    """Noise: no two places look alike, so that a shift by one pixel shows."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def a_slope(width: int, height: int) -> Pixels:
    """Red is 2 x, green is 2 y, as far as 255 goes: a mean over a box tells the box's centre."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([2 * x, 2 * y, np.zeros_like(x)], axis=2).astype(np.uint8)


def shrunk(pixels: Pixels, factor: int) -> Pixels:
    """The mean of every whole factor x factor square; what is left over at the edges is dropped, as scanners do."""
    height, width = (length // factor * factor for length in pixels.shape[:2])
    squares = pixels[:height, :width].reshape(height // factor, factor, width // factor, factor, 3)
    return squares.mean(axis=(1, 3)).round().astype(np.uint8)


def a_slide(
    path: Path,
    pixels: Pixels,
    mpp: float | None = 0.5,
    levels: Sequence[int] = (1, 4),
    tile: int = 64,
    stored: Mapping[str, Any] = LOSSLESS,
) -> Path:
    """Write a pyramidal slide in Aperio's layout, its tiles stored lossless or as tifffile is told by `stored`."""
    height, width = pixels.shape[:2]
    said = f"{_APERIO}{width}x{height} [0,0 {width}x{height}] ({tile}x{tile})"
    with tifffile.TiffWriter(path) as tiff:
        for factor in levels:
            picture = shrunk(pixels, factor)
            size = f" -> {picture.shape[1]}x{picture.shape[0]}" if factor > 1 else ""
            scale = f"|AppMag = 20|MPP = {mpp}" if mpp is not None else "|AppMag = 20"
            tiff.write(picture, tile=(tile, tile), metadata=None, description=said + size + scale,
                       **stored)  # fmt: skip
            if factor == 1:
                tiff.write(shrunk(pixels, 4), photometric="rgb", metadata=None, rowsperstrip=16,
                           description=f"{_APERIO}{width}x{height} -> thumbnail - ")  # fmt: skip
    return path


def a_tiled_tiff(
    path: Path, pixels: Pixels, dots_per_cm: tuple[float, float] | None = None
) -> Path:
    """Write a generic tiled TIFF, with resolution tags or without."""
    said = (
        {} if dots_per_cm is None else {"resolution": dots_per_cm, "resolutionunit": "CENTIMETER"}
    )
    tifffile.imwrite(
        path, pixels, tile=(64, 64), photometric="rgb", compression="zlib", metadata=None, **said
    )
    return path
