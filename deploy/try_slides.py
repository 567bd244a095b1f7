"""Draws small slides with stained nuclei into a folder; runs in the worker's image, which holds all
it needs."""

import sys
from pathlib import Path

import cv2
import numpy as np
import tifffile

EDGE_PX = 2048
TILE_PX = 256
GLASS, STROMA, NEGATIVE, POSITIVE = (243, 243, 243), (228, 206, 214), (120, 130, 180), (130, 84, 50)


def draw(path: Path, seed: int) -> None:
    """One slide of one level, laid out as Aperio does."""
    rng = np.random.default_rng(seed)
    pixels = np.full((EDGE_PX, EDGE_PX, 3), GLASS, np.uint8)
    cv2.circle(pixels, (EDGE_PX // 2, EDGE_PX // 2), EDGE_PX * 2 // 5, STROMA, -1)
    for x, y in rng.integers(EDGE_PX // 4, EDGE_PX * 3 // 4, (1500, 2)).tolist():
        cv2.circle(pixels, (x, y), 8, POSITIVE if rng.random() < 0.3 else NEGATIVE, -1)
    pixels = np.clip(pixels + rng.normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)
    description = f"Aperio Image Library v11.2.1\r\n{EDGE_PX}x{EDGE_PX}|AppMag = 20|MPP = 0.5"
    tifffile.imwrite(
        path,
        pixels,
        tile=(TILE_PX, TILE_PX),
        photometric="rgb",
        compression="zlib",
        metadata=None,
        description=description,
    )


if __name__ == "__main__":
    for number in range(int(sys.argv[2])):
        draw(Path(sys.argv[1]) / f"{number}.svs", number)
