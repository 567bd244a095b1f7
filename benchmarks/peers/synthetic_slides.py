"""Draws slides of any size in seconds: each kind of tile is drawn and encoded once and repeated.

The pixels are those of a photograph of stained tissue. A block of tissue is one mirrored period of
the photograph in one of several stains: sixteen tiles of level 0 and one of level 1, so that the
pyramid fits together. The levels above are drawn as they are.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.bigtiff import TILE_PX, Kinds, Level, write

MPP: Final = 0.5
RATIO: Final = 4
"""Of the sizes of a level and the next, as Aperio has it."""
JPEG_QUALITY: Final = 75
STAINS: Final = 24
STAIN_SPREAD: Final = 0.15
GLASS: Final = 243
GLASS_KINDS: Final = 16
SMALLEST_LEVEL_PX: Final = 2048
BLOBS: Final = 7
"""About the number of pieces of tissue across the slide."""

Pixels = NDArray[np.uint8]


@dataclass(slots=True)
class _Album:
    """Every encoded tile, with its copy at a quarter of the size for the level above."""

    pictures: list[bytes] = field(default_factory=list)
    quarters: list[Pixels] = field(default_factory=list)

    def add(self, tile: Pixels) -> int:
        import imagecodecs

        edge = TILE_PX // RATIO
        self.pictures.append(
            bytes(
                imagecodecs.jpeg8_encode(
                    tile, level=JPEG_QUALITY, colorspace="RGB", subsampling="422"
                )
            )
        )
        self.quarters.append(
            np.asarray(cv2.resize(tile, (edge, edge), interpolation=cv2.INTER_AREA), np.uint8)
        )
        return len(self.pictures) - 1

    def joined(self, kinds: Kinds) -> Pixels:
        """Return the tile of the level above these RATIO x RATIO tiles."""
        return np.concatenate(
            [np.concatenate([self.quarters[k] for k in row], 1) for row in kinds], 0
        )


def draw(
    path: Path, edge_px: int, *, tissue_share: float = 0.5, shared: bool = False, seed: int = 0
) -> Kinds:
    """Write a square slide that OpenSlide opens as `aperio`.

    Return the corners (N, 2), x and y in level-0 pixels, of the tiles that are all tissue. With
    `shared`, each kind of tile is stored once, however often it occurs.
    """
    rng = np.random.default_rng(seed)
    album = _Album()
    glass = np.array([album.add(_glass(rng)) for _ in range(GLASS_KINDS)])
    periods = [_tiles(album, period) for period in _periods(rng)]
    blocks = np.array([album.add(album.joined(tiles)) for tiles in periods])
    stains = _layout(-(-edge_px // (TILE_PX * RATIO)), tissue_share, rng)
    is_tissue = stains >= 0
    first = np.where(is_tissue, blocks[stains], glass[rng.integers(GLASS_KINDS, size=stains.shape)])
    zeroth = _spread(
        np.array(periods)[stains], is_tissue, glass[rng.integers(GLASS_KINDS, size=(4096,))]
    )
    grids = [zeroth, first]
    while edge_px // RATIO ** (len(grids) - 1) > SMALLEST_LEVEL_PX:
        grids.append(_above(album, grids[-1], glass[0]))
    write(
        path,
        [_level(edge_px, number, grid) for number, grid in enumerate(grids)],
        album.pictures,
        shared=shared,
    )
    return _whole_tiles(np.isin(zeroth, glass, invert=True), edge_px)


def _level(edge_px: int, number: int, kinds: Kinds) -> Level:
    own_px = edge_px // RATIO**number
    tiles = -(-own_px // TILE_PX)
    size = f"{edge_px}x{edge_px}"
    description = f"Aperio Image Library v11.2.1\r\n{size} [0,0 {size}] ({TILE_PX}x{TILE_PX})"
    if number == 0:
        description += f" JPEG/RGB Q={JPEG_QUALITY}|AppMag = 20|MPP = {MPP}"
    else:
        description += f" -> {own_px}x{own_px}"
    return Level(own_px, own_px, description, kinds[:tiles, :tiles])


def _whole_tiles(is_tissue: NDArray[np.bool_], edge_px: int) -> Kinds:
    inside = edge_px // TILE_PX
    rows, columns = np.nonzero(is_tissue[:inside, :inside])
    return np.stack([columns, rows], axis=1) * TILE_PX


def _glass(rng: np.random.Generator) -> Pixels:
    return np.asarray(np.clip(rng.normal(GLASS, 1.2, (TILE_PX, TILE_PX, 3)), 0, 255), np.uint8)


def _periods(rng: np.random.Generator) -> list[Pixels]:
    """Return the H-DAB photograph in many stains, each mirrored into RATIO x RATIO tiles."""
    from skimage.color import hed_from_rgb, rgb_from_hed
    from skimage.data import immunohistochemistry

    density = -np.log((np.asarray(immunohistochemistry(), np.float64) + 1) / 256) @ hed_from_rgb
    periods = []
    for number in range(STAINS):
        passed = np.exp(-(density * rng.normal(1, STAIN_SPREAD, 3)) @ rgb_from_hed)
        picture = np.rot90(np.asarray(np.clip(passed * 255, 0, 255), np.uint8), number)
        wide = np.concatenate([picture, picture[:, ::-1]], axis=1)
        periods.append(np.ascontiguousarray(np.concatenate([wide, wide[::-1]], axis=0)))
    return periods


def _tiles(album: _Album, period: Pixels) -> Kinds:
    steps = range(0, RATIO * TILE_PX, TILE_PX)
    return np.array(
        [[album.add(period[y : y + TILE_PX, x : x + TILE_PX]) for x in steps] for y in steps]
    )


def _layout(blocks: int, tissue_share: float, rng: np.random.Generator) -> Kinds:
    """Return the stain of each block, -1 for glass."""

    def smooth(cells: int) -> NDArray[Any]:
        noise = rng.standard_normal((cells, cells)).astype(np.float32)
        return np.asarray(cv2.resize(noise, (blocks, blocks), interpolation=cv2.INTER_CUBIC))

    height = smooth(BLOBS)
    mixed = smooth(2 * BLOBS)
    stains = np.argsort(np.argsort(mixed, axis=None)).reshape(mixed.shape) * STAINS // mixed.size
    return np.where(height >= np.quantile(height, 1 - tissue_share), stains, -1)


def _spread(tissue: Kinds, is_tissue: NDArray[np.bool_], glass: Kinds) -> Kinds:
    """Return blocks (rows, columns, RATIO, RATIO) as a grid of level-0 tiles, else glass."""
    edge = RATIO * len(is_tissue)
    kinds = (
        np.where(is_tissue[..., None, None], tissue, -1).transpose(0, 2, 1, 3).reshape(edge, edge)
    )
    return np.where(kinds >= 0, kinds, np.resize(glass, kinds.shape))


def _above(album: _Album, below: Kinds, glass: int) -> Kinds:
    """Return the next level, drawn tile by tile."""
    edge = -(-len(below) // RATIO)
    padded = np.pad(below, (0, edge * RATIO - len(below)), constant_values=glass)
    parts = padded.reshape(edge, RATIO, edge, RATIO).transpose(0, 2, 1, 3).reshape(-1, RATIO, RATIO)
    return np.array([album.add(album.joined(part)) for part in parts]).reshape(edge, edge)
