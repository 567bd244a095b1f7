"""Tiny slides made for tests: lossless, so that every pixel read back can be compared."""

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
    """Return noise, (height, width, 3), in which a shift by one pixel is seen."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def a_slope(width: int, height: int) -> Pixels:
    """Return an image whose red is 2 x and green 2 y, up to 255.

    The mean over a box is then the position of its center.
    """
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([2 * x, 2 * y, np.zeros_like(x)], axis=2).astype(np.uint8)


def shrunk(pixels: Pixels, factor: int) -> Pixels:
    """Return the mean of every factor x factor square.

    Incomplete squares at the edges are dropped, as scanners do.
    """
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
    """Write a pyramidal slide in Aperio's layout, its tiles lossless or stored as `stored` says."""
    height, width = pixels.shape[:2]
    header = f"{_APERIO}{width}x{height} [0,0 {width}x{height}] ({tile}x{tile})"
    with tifffile.TiffWriter(path) as tiff:
        for factor in levels:
            picture = shrunk(pixels, factor)
            size = f" -> {picture.shape[1]}x{picture.shape[0]}" if factor > 1 else ""
            scale = f"|AppMag = 20|MPP = {mpp}" if mpp is not None else "|AppMag = 20"
            tiff.write(
                picture,
                tile=(tile, tile),
                metadata=None,
                description=header + size + scale,
                **stored,
            )
            if factor == 1:
                tiff.write(
                    shrunk(pixels, 4),
                    photometric="rgb",
                    metadata=None,
                    rowsperstrip=16,
                    description=f"{_APERIO}{width}x{height} -> thumbnail - ",
                )
    return path


def a_tiled_tiff(
    path: Path, pixels: Pixels, dots_per_cm: tuple[float, float] | None = None
) -> Path:
    """Write a generic tiled TIFF, with resolution tags or without."""
    resolution: dict[str, Any] = {}
    if dots_per_cm is not None:
        resolution = {"resolution": dots_per_cm, "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(
        path,
        pixels,
        tile=(64, 64),
        photometric="rgb",
        compression="zlib",
        metadata=None,
        **resolution,
    )
    return path
