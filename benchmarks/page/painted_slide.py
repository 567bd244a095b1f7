"""Large slides made in seconds: one tile over and over, with shapes painted where they are told."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import tifffile
from PIL import Image, ImageDraw

from worker.geometry.frame import Floats, Pixels

TILE_PX: Final = 512
MPP: Final = 0.5
_FACTORS: Final = (1, 4, 16)
_APERIO: Final = "Aperio Image Library v11.2.1\r\n"
_SHAPE: Final = (20, 20, 20)


def write_slide(
    path: Path, width: int, height: int, ground: Pixels, shapes: Sequence[Floats] = ()
) -> Path:
    """Write a pyramid in Aperio's layout, lossless, and return its path.

    `ground`: (512, 512, 3), shown on every tile of every level. `shapes`: outlines in level-0
    pixels, (K, 2) each, painted nearly black.
    """
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for factor in _FACTORS:
            size = (-(-width // factor), -(-height // factor))
            header = f"{_APERIO}{width}x{height} [0,0 {width}x{height}] ({TILE_PX}x{TILE_PX})"
            if factor > 1:
                header += f" -> {size[0]}x{size[1]}"
            tiff.write(
                _tiles(size, factor, ground, shapes),
                shape=(size[1], size[0], 3),
                dtype=np.uint8,
                tile=(TILE_PX, TILE_PX),
                photometric="rgb",
                compression="zlib",
                metadata=None,
                description=f"{header}|AppMag = 20|MPP = {MPP}",
            )
    return path


def _tiles(
    size: tuple[int, int], factor: int, ground: Pixels, shapes: Sequence[Floats]
) -> Iterator[Pixels]:
    for top in range(0, size[1], TILE_PX):
        for left in range(0, size[0], TILE_PX):
            corner = np.array([left, top])
            near = [shape / factor - corner for shape in shapes]
            touching = [
                shape for shape in near if (shape.max(axis=0) > 0).all() and shape.min() < TILE_PX
            ]
            yield _painted(ground, touching) if touching else ground


def _painted(ground: Pixels, shapes: Sequence[Floats]) -> Pixels:
    picture = Image.fromarray(ground)
    draw = ImageDraw.Draw(picture)
    for shape in shapes:
        # ImageDraw fills up to and with the last pixel; an outline ends before it.
        inner = np.where(shape > shape.mean(axis=0), shape - 1, shape)
        draw.polygon([(x, y) for x, y in inner.tolist()], fill=_SHAPE)
    return np.asarray(picture)


def white() -> Pixels:
    """Return a tile without anything on it."""
    return np.full((TILE_PX, TILE_PX, 3), 245, np.uint8)


def tissue(seed: int = 0) -> Pixels:
    """Return a tile that compresses about as badly as stained tissue does."""
    rng = np.random.default_rng(seed)
    small = rng.integers(-30, 30, (TILE_PX // 8, TILE_PX // 8, 3))
    coarse = np.kron(small, np.ones((8, 8, 1), np.int64))
    fine = rng.integers(-6, 6, (TILE_PX, TILE_PX, 1))
    return np.clip(np.array([214, 170, 200]) + coarse + fine, 0, 255).astype(np.uint8)
