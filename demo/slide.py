"""Writes the sample slide: a drawn tissue section, as a pyramidal TIFF with Aperio's layout.

`demo.synthetic_tissue` decides how the tissue looks.
"""

import argparse
import math
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demo.synthetic_tissue import Section

TILE_PX = 256
LEVEL_RATIO = 4
"""The levels have the downsamples 1, 4, 16, ... as Aperio writes them."""
SMALLEST_LEVEL_PX = 2048
THUMBNAIL_PX = 1024
MPP = 0.5
JPEG_QUALITY = 80
GLASS = 243
GLASS_TILES = 16

Pixels = NDArray[np.uint8]


def make_sample_slide(
    path: Path, width_px: int = 20000, height_px: int = 12000, seed: int = 0
) -> None:
    """Write a slide to `path` that OpenSlide opens as `aperio`.

    It has 0.5 µm per pixel, and about a fifth of it is tissue. Raise `ValueError` for a size of
    less than two tiles.
    """
    if min(width_px, height_px) < 2 * TILE_PX:
        raise ValueError(
            f"a slide of {width_px}x{height_px} px is too small: "
            f"each side needs {2 * TILE_PX} px or more"
        )
    import tifffile

    rng = np.random.default_rng(seed)
    section = Section(width_px, height_px, TILE_PX, rng)
    glass = _glass(rng)
    level_shape = (math.ceil(height_px / LEVEL_RATIO), math.ceil(width_px / LEVEL_RATIO), 3)
    level = np.full(level_shape, GLASS, np.uint8)
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        whole = _description(width_px, height_px)
        # This also fills `level`, the level above, which is complete once all tiles are written.
        tiles = _draw_tiles(section, glass, level)
        description = f"{whole}|AppMag = 20|MPP = {MPP}"
        _write_level(tiff, tiles, (height_px, width_px), description)
        thumbnail = _shrunk(level, max(1.0, max(level.shape) / THUMBNAIL_PX))
        tiff.write(
            thumbnail,
            photometric="rgb",
            metadata=None,
            description="Aperio Image Library\r\nthumbnail",
        )
        _write_level(tiff, _split_tiles(level), level.shape[:2], whole)
        while max(level.shape) > SMALLEST_LEVEL_PX:
            level = _shrunk(level, LEVEL_RATIO)
            _write_level(tiff, _split_tiles(level), level.shape[:2], whole)


def tissue_roi(path: Path, edge_px: int = 2048) -> dict[str, int]:
    """Return the square that holds the most tissue: x, y, width, height in level-0 pixels."""
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        width_px = tiff.series[0].shape[1]
        smallest = tiff.pages[-1].asarray()
    downsample = width_px / smallest.shape[1]
    is_tissue = smallest.min(axis=2) < GLASS - 25
    sums = cv2.integral(is_tissue.astype(np.float32))
    box = max(1, round(edge_px / downsample))
    tissue = sums[box:, box:] - sums[:-box, box:] - sums[box:, :-box] + sums[:-box, :-box]
    y, x = np.unravel_index(int(np.argmax(tissue)), tissue.shape)
    return {"x": int(x * downsample), "y": int(y * downsample), "width": edge_px, "height": edge_px}


def _glass(rng: np.random.Generator) -> list[Pixels]:
    """Return tiles of glass without tissue, with the noise of a camera."""
    noise = [rng.normal(GLASS, 1.2, (TILE_PX, TILE_PX, 3)) for _ in range(GLASS_TILES)]
    return [np.asarray(np.clip(tile, 0, 255), np.uint8) for tile in noise]


def _draw_tiles(section: Section, glass: list[Pixels], level: Pixels) -> Iterator[bytes]:
    """Yield the encoded tiles of level 0, and draw level 1 into `level` meanwhile."""
    # Most of a slide is glass, so each kind of glass is encoded once.
    encoded = [_jpeg(tile) for tile in glass]
    edge = TILE_PX // LEVEL_RATIO
    for number, (y, x) in enumerate(_corners(level, edge)):
        kind = (number * 7) % GLASS_TILES
        tile = section.tile(x * LEVEL_RATIO, y * LEVEL_RATIO, glass[kind])
        if tile is None:
            yield encoded[kind]
            continue
        target = level[y : y + edge, x : x + edge]
        target[:] = _shrunk(tile, LEVEL_RATIO)[: target.shape[0], : target.shape[1]]
        yield _jpeg(tile)


def _split_tiles(level: Pixels) -> Iterator[bytes]:
    """Yield the encoded tiles of a level; those at the rim repeat their last pixels."""
    for y, x in _corners(level, TILE_PX):
        tile = level[y : y + TILE_PX, x : x + TILE_PX]
        margins = ((0, TILE_PX - tile.shape[0]), (0, TILE_PX - tile.shape[1]), (0, 0))
        yield _jpeg(np.pad(tile, margins, mode="edge"))


def _corners(level: Pixels, edge: int) -> Iterator[tuple[int, int]]:
    return product(range(0, level.shape[0], edge), range(0, level.shape[1], edge))


def _shrunk(pixels: Pixels, ratio: float) -> Pixels:
    size = (max(1, int(pixels.shape[1] / ratio)), max(1, int(pixels.shape[0] / ratio)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def _jpeg(tile: Pixels) -> bytes:
    import imagecodecs

    return bytes(
        imagecodecs.jpeg8_encode(tile, level=JPEG_QUALITY, colorspace="RGB", subsampling="420")
    )


def _description(width_px: int, height_px: int) -> str:
    """Return the text by which OpenSlide recognises an Aperio level; properties follow a `|`."""
    size = f"{width_px}x{height_px}"
    coding = f"({TILE_PX}x{TILE_PX}) JPEG/RGB Q={JPEG_QUALITY}"
    return f"Aperio Image Library v11.2.1\r\n{size} [0,0 {size}] {coding}"


def _write_level(
    tiff: Any, tiles: Iterator[bytes], size: tuple[int, ...], description: str
) -> None:
    layout = {
        "tile": (TILE_PX, TILE_PX),
        "photometric": "ycbcr",
        "subsampling": (2, 2),
        "compression": "jpeg",
    }
    tiff.write(
        tiles,
        shape=(*size, 3),
        dtype="uint8",
        description=description,
        metadata=None,
        software=None,
        **layout,
    )


def main(argv: list[str] | None = None) -> None:
    """Write one sample slide."""
    parser = argparse.ArgumentParser(prog="python -m demo.slide", description=main.__doc__)
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--width", type=int, default=20000, metavar="PX")
    parser.add_argument("--height", type=int, default=12000, metavar="PX")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    make_sample_slide(arguments.out, arguments.width, arguments.height, arguments.seed)


if __name__ == "__main__":
    main()
