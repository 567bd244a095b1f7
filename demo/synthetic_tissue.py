"""Draws a synthetic section: islands of round nuclei in fibrous stroma, stained blue and brown.

Nothing of it comes from a patient or a photograph. Every nucleus is drawn at a random place, and
how many of them are brown changes from place to place. It is drawn to resemble Ki-67 in H-DAB, and
is no evidence of how well nuclei of real tissue are found.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

TISSUE_SHARE = 0.22
"""The share of the slide that is tissue."""
CELL_PX = 16
"""Outlines, islands and stain strengths are drawn on a grid of such cells and interpolated."""
PIECES = ((0.36, 0.50, 0.21, 0.36), (0.78, 0.42, 0.10, 0.22))
"""Pieces of tissue: centre x, y and radius x, y as shares of the slide."""
ROUGHNESS = ((4.0, 0.55), (11.0, 0.28), (45.0, 0.12), (240.0, 0.035))
"""The outline's roughness: number of waves across the slide, and their height."""
EDGE_STEEPNESS = 60.0
ISLAND_PX = 420
"""The size of islands of tumour, and of the strands of stroma between them."""
ISLAND_FROM = 0.1
LUMEN_FROM = 1.35
SPACING_PX = 19
"""The distance of nuclei in an island: 9.5 µm."""
JITTER_PX = 7.0
ISLAND_NUCLEI = 0.92
STROMA_NUCLEI = 0.24
"""The shares of places that hold a nucleus."""
SPRITES = 192
"""Shapes of nuclei of each kind: round ones, and spindles along each direction of the fibres."""
FIBRE_PX = 1500
"""How far fibres run before they turn."""
REACH_PX = 17
TEXTURE_PX = 1024
HAEMATOXYLIN = (0.65, 0.70, 0.29)
DAB = (0.27, 0.57, 0.78)
"""How stains absorb red, green and blue (Ruifrok and Johnston 2001)."""

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class _Nuclei:
    """All nuclei of a section, sorted by `tile`, the number of the tile that holds their centre.

    `x`, `y`: level-0 pixels. `sprite`: the number of each one's shape. `blue`, `brown`: densities.
    """

    tile: NDArray[np.int64]
    x: NDArray[np.int64]
    y: NDArray[np.int64]
    sprite: NDArray[np.int64]
    blue: Floats
    brown: Floats


class Section:
    """A section on a slide of `width_px` x `height_px`, drawn tile by tile."""

    def __init__(
        self, width_px: int, height_px: int, tile_px: int, rng: np.random.Generator
    ) -> None:
        margin = tile_px // CELL_PX + 2
        shape = (height_px // CELL_PX + margin, width_px // CELL_PX + margin)
        self._tile_px = tile_px
        self._columns = width_px // tile_px + 2
        self._ground = _ground(shape, rng)
        falling = _texture(rng, 2.0, 14.0)
        rising = _texture(rng, 2.0, 14.0)[:, ::-1]
        self._fibres = (np.ascontiguousarray(falling), np.ascontiguousarray(rising))
        self._grain = _texture(rng, 0.9, 0.9)
        self._clouds = _texture(rng, 9.0, 9.0)
        self._sprites = _sprites(rng)
        self._nuclei = self._placed(width_px, height_px, rng)

    def tile(self, x: int, y: int, glass: Pixels) -> Pixels | None:
        """Return the tile with its corner at (x, y) in level-0 pixels, or None for bare glass."""
        count = self._tile_px // CELL_PX + 1
        row = y // CELL_PX
        column = x // CELL_PX
        cells = self._ground[row : row + count, column : column + count]
        if cells[..., 0].max() < 0:
            return None
        steps = np.arange(self._tile_px, dtype=np.float32) / CELL_PX
        at_pixels = cv2.remap(cells, *np.meshgrid(steps, steps), cv2.INTER_LINEAR)
        height, island, _, turn = cv2.split(at_pixels)
        cover = np.clip(height * EDGE_STEEPNESS, 0, 1)
        solid = np.clip((island - ISLAND_FROM) * 6 + 0.5, 0, 1)
        lumen = np.clip((island - LUMEN_FROM) * 12, 0, 1)
        rising = np.clip(3 * turn + 0.5, 0, 1)
        falling_fibres, rising_fibres = (self._at(fibres, x, y) for fibres in self._fibres)
        fibres = falling_fibres * (1 - rising) + rising_fibres * rising
        clouds = self._at(self._clouds, x, y)
        ground = 0.115 + solid * (0.035 + 0.014 * clouds) + (1 - solid) * 0.034 * fibres
        ground = np.clip(ground, 0.08, None) * (1 - 0.75 * lumen)
        blue, brown = self._stamped(x, y)
        blue += ground * (1 - np.clip(3 * brown, 0, 1) * 0.5)
        brown += 0.018 + 0.012 * solid * (1 + 0.5 * clouds) * (1 - lumen)
        grain = 1 + 0.10 * self._at(self._grain, x, y)
        density = np.stack([blue * grain * cover, brown * grain * cover], axis=-1)
        return _transmitted(density, glass)

    def _at(self, texture: Floats, x: int, y: int) -> Floats:
        """Return the part of a texture that repeats without seams, at a tile."""
        rows = np.arange(y, y + self._tile_px) % TEXTURE_PX
        columns = np.arange(x, x + self._tile_px) % TEXTURE_PX
        return np.asarray(texture[np.ix_(rows, columns)])

    def _stamped(self, x: int, y: int) -> tuple[Floats, Floats]:
        """Return the densities, blue and brown, of the nuclei in a tile."""
        edge = self._tile_px + 4 * REACH_PX
        blue = np.zeros((edge, edge), np.float32)
        brown = np.zeros((edge, edge), np.float32)
        for number in self._around(x, y):
            left = int(self._nuclei.x[number]) - x + REACH_PX
            top = int(self._nuclei.y[number]) - y + REACH_PX
            if not (0 <= left < edge - 2 * REACH_PX and 0 <= top < edge - 2 * REACH_PX):
                continue
            window = np.s_[top : top + 2 * REACH_PX + 1, left : left + 2 * REACH_PX + 1]
            sprite = self._sprites[self._nuclei.sprite[number]]
            np.maximum(blue[window], sprite * self._nuclei.blue[number], out=blue[window])
            np.maximum(brown[window], sprite * self._nuclei.brown[number], out=brown[window])
        inner = np.s_[2 * REACH_PX : -2 * REACH_PX, 2 * REACH_PX : -2 * REACH_PX]
        return blue[inner].copy(), brown[inner].copy()

    def _around(self, x: int, y: int) -> NDArray[np.int64]:
        """Return the numbers of the nuclei in a tile and in the eight around it, in their order."""
        middle = y // self._tile_px * self._columns + x // self._tile_px
        ranges = []
        for row in (-1, 0, 1):
            first = middle + row * self._columns - 1
            start, stop = np.searchsorted(self._nuclei.tile, (first, first + 3))
            ranges.append(np.arange(start, stop))
        return np.concatenate(ranges)

    def _placed(self, width_px: int, height_px: int, rng: np.random.Generator) -> _Nuclei:
        """Return nuclei at random places of the tissue, dense in islands and sparse in stroma."""
        columns = np.arange(0, width_px, SPACING_PX)
        rows = np.arange(0, height_px, SPACING_PX)
        x, y = (axis.ravel().astype(np.float64) for axis in np.meshgrid(columns, rows))
        x += (y // SPACING_PX % 2) * SPACING_PX / 2  # as in a honeycomb
        x += rng.uniform(-JITTER_PX, JITTER_PX, len(x)) + SPACING_PX / 4
        y += rng.uniform(-JITTER_PX, JITTER_PX, len(y)) + SPACING_PX / 2
        x = x.clip(0, width_px - 1)
        y = y.clip(0, height_px - 1)
        ground = self._ground[(y // CELL_PX).astype(int), (x // CELL_PX).astype(int)]
        height, island, proliferation, turn = ground.T
        in_island = island > ISLAND_FROM
        share = np.where(in_island, ISLAND_NUCLEI, STROMA_NUCLEI)
        chosen = (rng.random(len(x)) < share) & (height > 0.008) & (island < LUMEN_FROM)
        x = x[chosen]
        y = y[chosen]
        in_island = in_island[chosen]
        count = len(x)
        positive_share = np.where(in_island, proliferation[chosen], 0.02)
        is_positive = rng.random(count) < positive_share
        spindle = np.where(turn[chosen] > 0, 2 * SPRITES, SPRITES)
        sprite = rng.integers(0, SPRITES, count) + np.where(in_island, 0, spindle)
        blue = np.where(is_positive, rng.uniform(0.15, 0.3, count), rng.uniform(0.3, 0.55, count))
        brown = np.where(is_positive, rng.uniform(0.4, 1.1, count), rng.uniform(0, 0.03, count))
        tile = (y // self._tile_px).astype(np.int64) * self._columns
        tile += (x // self._tile_px).astype(np.int64)
        order = np.argsort(tile, kind="stable")
        return _Nuclei(
            tile[order],
            x[order].astype(np.int64),
            y[order].astype(np.int64),
            sprite[order],
            blue[order].astype(np.float32),
            brown[order].astype(np.float32),
        )


def _sprites(rng: np.random.Generator) -> list[Floats]:
    """Return densities of nuclei: `SPRITES` round ones, and as many spindles of each direction."""
    sprites = []
    for _ in range(SPRITES):
        short = rng.uniform(5.5, 8.5)
        long = short * rng.uniform(1.0, 1.45)
        sprites.append(_nucleus(rng, short, long, rng.uniform(0, np.pi)))
    for direction in (np.pi / 4, -np.pi / 4):
        for _ in range(SPRITES):
            short = rng.uniform(3.0, 4.2)
            long = min(short * rng.uniform(2.0, 3.2), REACH_PX - 3.0)
            sprites.append(_nucleus(rng, short, long, direction + rng.normal(0, 0.3)))
    return sprites


def _nucleus(rng: np.random.Generator, short: float, long: float, angle: float) -> Floats:
    """Return a nucleus with a soft, uneven edge and coarse chromatin; its mean density is 1."""
    y, x = np.mgrid[-REACH_PX : REACH_PX + 1, -REACH_PX : REACH_PX + 1].astype(np.float32)
    along = (x * np.cos(angle) + y * np.sin(angle)) / long
    across = (y * np.cos(angle) - x * np.sin(angle)) / short
    bearing = np.arctan2(across, along)
    edge = (
        1
        + 0.07 * np.cos(2 * bearing + rng.uniform(0, 6))
        + 0.05 * np.cos(3 * bearing + rng.uniform(0, 6))
    )
    inside = 1 / (1 + np.exp(-(edge - np.hypot(along, across)) * short * 1.6))
    chromatin = cv2.GaussianBlur(rng.standard_normal(x.shape), (0, 0), 1.4)
    rim = np.exp(-(((np.hypot(along, across) - 0.85) / 0.18) ** 2))
    density = inside * (0.92 + 0.55 * chromatin + 0.16 * rim)
    return np.asarray(np.clip(density, 0, 1.5), np.float32)


def _texture(rng: np.random.Generator, short_px: float, long_px: float) -> Floats:
    """Return smooth noise (TEXTURE_PX, TEXTURE_PX) of deviation 1 that repeats without seams.

    Its grains have these two lengths; the longer one lies along a diagonal.
    """
    frequency = np.fft.fftfreq(TEXTURE_PX)
    fx, fy = np.meshgrid(frequency, frequency)
    along = (fx + fy) / np.sqrt(2) * long_px
    across = (fx - fy) / np.sqrt(2) * short_px
    smooth = np.exp(-2 * np.pi**2 * (along**2 + across**2))
    noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((TEXTURE_PX, TEXTURE_PX))) * smooth).real
    return np.asarray(noise / noise.std(), np.float32)


def _waves(shape: tuple[int, int], count: float, rng: np.random.Generator) -> Floats:
    """Return smooth noise (h, w) with about `count` waves across the longer side."""
    cells = [max(2, round(count * side / max(shape))) + 1 for side in shape]
    noise = rng.standard_normal(cells).astype(np.float32)
    return np.asarray(cv2.resize(noise, shape[::-1], interpolation=cv2.INTER_CUBIC), np.float32)


def _ground(shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    """Return for every cell (h, w, 4): height of the tissue, islands, share of brown nuclei, turn.

    Where the height is below 0, there is glass. Islands are above `ISLAND_FROM`. Where the turn is
    above 0, fibres rise to the right.
    """
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    pieces = [
        1 - ((x / shape[1] - cx) / rx) ** 2 - ((y / shape[0] - cy) / ry) ** 2
        for cx, cy, rx, ry in PIECES
    ]
    roughness = sum(share * _waves(shape, count, rng) for count, share in ROUGHNESS)
    height = np.maximum.reduce(pieces) + roughness
    height -= np.quantile(height, 1 - TISSUE_SHARE)
    count = max(shape) * CELL_PX / ISLAND_PX
    islands = _waves(shape, count, rng) + 0.35 * _waves(shape, 3 * count, rng)
    proliferation = np.exp(-1.6 + 0.75 * _waves(shape, 9, rng)).clip(0.03, 0.75)
    turn = _waves(shape, max(shape) * CELL_PX / FIBRE_PX, rng)
    return np.stack([height, islands, proliferation, turn], axis=-1).astype(np.float32)


def _transmitted(density: Floats, glass: Pixels) -> Pixels:
    """Return the light that passes through the stains (h, w, 2) and glass, by Beer and Lambert."""
    vectors = np.array([HAEMATOXYLIN, DAB])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    absorbed = cv2.transform(density, (np.log(10) * vectors.T).astype(np.float32))
    return np.asarray(np.clip(cv2.exp(-absorbed) * glass, 0, 255), np.uint8)
