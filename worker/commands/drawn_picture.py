"""Draws a picture that looks like stained tissue, for checks of an algorithm without a slide."""

from io import BytesIO
from typing import Final

import cv2
import numpy as np
import tifffile

from worker.geometry.frame import Pixels

_GLASS: Final = (243, 242, 244)
_TISSUE: Final = (226, 178, 205)
_NUCLEI: Final = ((96, 70, 140), (120, 88, 60))
"""Two of three nuclei are blue, one is brown."""
_NUCLEUS_UM: Final = 4.0
_SPACING_UM: Final = 16.0


def draw_tissue(edge_px: int, mpp: float) -> Pixels:
    """Return a picture (edge_px, edge_px, 3) at `mpp` microns per pixel.

    Tissue with nuclei in rows, a rim of glass around it, and a coarse texture; always the same.
    """
    random = np.random.default_rng(0)
    picture = np.full((edge_px, edge_px, 3), _GLASS, np.uint8)
    rim = edge_px // 16
    picture[rim:-rim, rim:-rim] = _TISSUE
    spacing_px = max(4.0, _SPACING_UM / mpp)
    radius_px = max(1, round(_NUCLEUS_UM / mpp))
    number = 0
    for y in np.arange(rim + spacing_px, edge_px - rim - spacing_px / 2, spacing_px):
        for x in np.arange(rim + spacing_px, edge_px - rim - spacing_px / 2, spacing_px):
            shift_x, shift_y = random.integers(-2, 3, 2).tolist()
            centre = (round(float(x)) + shift_x, round(float(y)) + shift_y)
            cv2.circle(picture, centre, radius_px, _NUCLEI[number % 3 == 2], -1, cv2.LINE_AA)
            number += 1
    noise = random.integers(-6, 7, picture.shape, dtype=np.int16)
    return (picture + noise).clip(0, 255).astype(np.uint8)


def tiff(picture: Pixels, mpp: float) -> bytes:
    """Return the picture as a tiled TIFF that states its microns per pixel, as a slide does."""
    file = BytesIO()
    pixels_per_cm = 10_000 / mpp
    tifffile.imwrite(
        file,
        picture,
        photometric="rgb",
        tile=(256, 256),
        resolution=(pixels_per_cm, pixels_per_cm),
        resolutionunit="CENTIMETER",
    )
    return file.getvalue()
