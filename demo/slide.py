"""Writes the sample slide: a tissue section on glass as a pyramidal TIFF, laid out as Aperio does.

Owns the file's layout; how the tissue looks is in `demo.section`. Knows nothing of orders or receivers.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demo.synthetic_tissue import Section

TILE_PX = 256
LEVEL_RATIO = 4  # level downsamples 1, 4, 16, ... as Aperio writes them
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
    """Write a slide to `path` that OpenSlide opens as `aperio`: 0.5 µm per pixel, about a fifth of it tissue."""
    if min(width_px, height_px) < 2 * TILE_PX:
        raise ValueError(
            f"a slide of {width_px}x{height_px} px is too small: each side needs {2 * TILE_PX} px or more"
        )
    import tifffile

    rng = np.random.default_rng(seed)
    section, glass = Section(width_px, height_px, TILE_PX, rng), _glass(rng)
    level = np.full((-(-height_px // LEVEL_RATIO), -(-width_px // LEVEL_RATIO), 3), GLASS, np.uint8)
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        whole = _description(width_px, height_px)
        _write_level(
            tiff,
            _draw(section, glass, level),
            (height_px, width_px),
            f"{whole}|AppMag = 20|MPP = {MPP}",
        )
        thumbnail = _shrunk(level, max(1.0, max(level.shape) / THUMBNAIL_PX))
        tiff.write(
            thumbnail,
            photometric="rgb",
            metadata=None,
            description="Aperio Image Library\r\nthumbnail",
        )
        _write_level(tiff, _cut(level), level.shape[:2], whole)
        while max(level.shape) > SMALLEST_LEVEL_PX:
            level = _shrunk(level, LEVEL_RATIO)
            _write_level(tiff, _cut(level), level.shape[:2], whole)


def tissue_roi(path: Path, edge_px: int = 2048) -> dict[str, int]:
    """The square of `edge_px` that holds the most tissue: x, y, width and height in level-0 pixels."""
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        whole, smallest = tiff.series[0].shape, tiff.pages[-1].asarray()
    downsample = whole[1] / smallest.shape[1]
    sums = cv2.integral((smallest.min(axis=2) < GLASS - 25).astype(np.float32))
    box = max(1, round(edge_px / downsample))
    share = sums[box:, box:] - sums[:-box, box:] - sums[box:, :-box] + sums[:-box, :-box]
    y, x = np.unravel_index(int(np.argmax(share)), share.shape)
    return {"x": int(x * downsample), "y": int(y * downsample), "width": edge_px, "height": edge_px}


def _glass(rng: np.random.Generator) -> list[Pixels]:
    """Bare glass as a camera sees it."""
    noise = [rng.normal(GLASS, 1.2, (TILE_PX, TILE_PX, 3)) for _ in range(GLASS_TILES)]
    return [np.asarray(np.clip(tile, 0, 255), np.uint8) for tile in noise]


def _draw(section: Section, glass: list[Pixels], level: Pixels) -> Iterator[bytes]:
    """Level 0, tile by tile, encoded; on the way level 1 is drawn into `level`."""
    encoded = [
        _jpeg(tile) for tile in glass
    ]  # most of a slide is glass, so each kind is encoded once
    edge = TILE_PX // LEVEL_RATIO
    for number, (y, x) in enumerate(_corners(level, edge)):
        kind = (number * 7) % GLASS_TILES
        tile = section.tile(x * LEVEL_RATIO, y * LEVEL_RATIO, glass[kind])
        yield encoded[kind] if tile is None else _jpeg(tile)
        if tile is not None:
            target = level[y : y + edge, x : x + edge]
            target[:] = _shrunk(tile, LEVEL_RATIO)[: target.shape[0], : target.shape[1]]


def _cut(level: Pixels) -> Iterator[bytes]:
    for y, x in _corners(level, TILE_PX):
        tile = level[y : y + TILE_PX, x : x + TILE_PX]
        margins = ((0, TILE_PX - tile.shape[0]), (0, TILE_PX - tile.shape[1]), (0, 0))
        yield _jpeg(np.pad(tile, margins, mode="edge"))


def _corners(level: Pixels, edge: int) -> Iterator[tuple[int, int]]:
    return ((y, x) for y in range(0, level.shape[0], edge) for x in range(0, level.shape[1], edge))


def _shrunk(pixels: Pixels, ratio: float) -> Pixels:
    size = (max(1, int(pixels.shape[1] / ratio)), max(1, int(pixels.shape[0] / ratio)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def _jpeg(tile: Pixels) -> bytes:
    import imagecodecs

    return bytes(
        imagecodecs.jpeg8_encode(tile, level=JPEG_QUALITY, colorspace="RGB", subsampling="420")
    )


def _description(width_px: int, height_px: int) -> str:
    """The words by which OpenSlide knows an Aperio level; properties follow behind `|`."""
    size = f"{width_px}x{height_px}"
    return f"Aperio Image Library v11.2.1\r\n{size} [0,0 {size}] ({TILE_PX}x{TILE_PX}) JPEG/RGB Q={JPEG_QUALITY}"


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
    given = parser.parse_args(argv)
    make_sample_slide(given.out, given.width, given.height, given.seed)


if __name__ == "__main__":
    main()
