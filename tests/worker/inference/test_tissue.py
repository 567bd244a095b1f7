"""Which tiles are kept: whatever is stained, nothing that is glass."""

from pathlib import Path

import numpy as np
import pytest

from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.roi import Rectangle
from tests.support.paths import SLIDES
from tests.support.slides import a_slide, a_tiled_tiff
from worker.geometry.frame import Pixels
from worker.geometry.roi import resolve_roi
from worker.geometry.tile_grid import Grid, tile_grid
from worker.inference.tissue import tissue_tiles
from worker.slides.slide import Slide

real_slides = pytest.mark.skipif(not SLIDES.is_dir(), reason="there is no ../shared/slides")

CARD = AlgorithmCard(
    name="eye",
    version="1",
    digest="0",
    title="Eye",
    description="",
    output="objects",
    classes=(),
    parameters={},
    mpp=0.5,
    tile_px=128,
)
COLUMNS = 4
ROWS = 3
GLASS = (243, 243, 242)


def glass(colour: tuple[int, int, int] = GLASS) -> Pixels:
    """A slide of 4 x 3 tiles of noisy glass."""
    noise = np.random.default_rng(3).normal(0, 1.5, (ROWS * 128, COLUMNS * 128, 3))
    return np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)


def speckled(colour: tuple[int, int, int], other: tuple[int, int, int]) -> Pixels:
    """The same slide full of nuclei of one colour on the other."""
    y, x = np.mgrid[: ROWS * 128, : COLUMNS * 128]
    nuclei = ((x % 40 - 20) ** 2 + (y % 40 - 20) ** 2 < 81)[..., None]
    return np.where(nuclei, np.uint8(colour), np.uint8(other))


def tiles_with_tissue(folder: Path, pixels: Pixels, roi: Rectangle | None = None) -> list[int]:
    """Return the numbers of the tiles with tissue on a slide with these pixels."""
    with Slide.open(a_slide(folder / "a.svs", pixels, levels=(1, 4))) as slide:
        return [
            tile.index
            for tile in tissue_tiles(
                slide, tile_grid(resolve_roi(roi, slide.frame), slide.frame, CARD)
            ).tiles
        ]


@pytest.mark.parametrize("colour", [GLASS, (255, 255, 255), (205, 205, 205), (232, 227, 233)])
def test_bare_glass_has_no_tiles(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    """White, grey or slightly tinted glass with the noise of a camera gives a grid of no tiles."""
    assert tiles_with_tissue(tmp_path, glass(colour)) == []


def test_what_was_not_scanned_is_no_tissue(tmp_path: Path) -> None:
    """Black around the glass is no tissue, nor is the grey line where they meet."""
    pixels = glass()
    pixels[:100] = 0
    pixels[:, 203:290] = 0
    assert tiles_with_tissue(tmp_path, pixels) == []


@pytest.mark.parametrize(
    ("nucleus", "around"),
    [
        ((95, 60, 40), (225, 205, 190)),  # strong DAB
        ((190, 170, 150), (236, 233, 231)),  # pale DAB
        ((185, 190, 212), (236, 236, 238)),  # pale haematoxylin
        ((70, 70, 80), (238, 238, 240)),  # dense and nearly grey
        ((90, 50, 120), (220, 150, 190)),  # H&E
    ],
)
def test_an_area_full_of_tissue_is_kept_whole(
    tmp_path: Path, nucleus: tuple[int, int, int], around: tuple[int, int, int]
) -> None:
    """Whatever the stain, no threshold cuts a full area in two."""
    assert tiles_with_tissue(tmp_path, speckled(nucleus, around)) == list(range(COLUMNS * ROWS))


def test_pale_tissue_beside_strong_tissue_is_kept(tmp_path: Path) -> None:
    """One tile of strong colour does not move the threshold above its pale neighbour."""
    pixels = glass()
    pixels[:128, :128] = speckled((60, 20, 10), (200, 40, 60))[:128, :128]
    pixels[256:, 384:] = speckled((185, 190, 212), (236, 236, 238))[256:, 384:]
    assert {0, 11} <= set(tiles_with_tissue(tmp_path, pixels)) <= {0, 1, 4, 5, 6, 7, 10, 11}


def test_one_small_spot_keeps_its_tile_alone(tmp_path: Path) -> None:
    """A group of cells of 30 microns in the middle of a tile is enough for it, and not for its
    neighbours."""
    pixels = glass()
    pixels[160:220, 160:220] = (120, 70, 50)
    assert tiles_with_tissue(tmp_path, pixels) == [5]


def test_a_spot_at_a_corner_keeps_all_four_tiles(tmp_path: Path) -> None:
    """The margin of two overview pixels reaches over the borders of tiles."""
    pixels = glass()
    pixels[118:138, 246:266] = (120, 70, 50)
    assert tiles_with_tissue(tmp_path, pixels) == [1, 2, 5, 6]


def test_only_the_region_is_looked_at(tmp_path: Path) -> None:
    """Tiles are counted from the region's corner, and tissue beside the region keeps none of
    them."""
    pixels = glass()
    pixels[:, :100] = (120, 70, 50)
    assert tiles_with_tissue(tmp_path, pixels, Rectangle(x=200, y=0, width=312, height=384)) == []
    assert tiles_with_tissue(tmp_path, pixels, Rectangle(x=60, y=10, width=300, height=300)) == [
        0,
        3,
        6,
    ]


def test_the_kept_tiles_are_the_grid_s_own(tmp_path: Path) -> None:
    """A slide whose pixels are not square keeps the tiles where they were, at the grid's
    downsamples."""
    pixels = glass()
    pixels[160:220, 160:220] = (120, 70, 50)
    with Slide.open(a_tiled_tiff(tmp_path / "a.tiff", pixels, (20000, 40000))) as slide:
        grid = tile_grid(resolve_roi(None, slide.frame), slide.frame, CARD)
        some = tissue_tiles(slide, grid)
    assert [(tile.index, tile.x, tile.y) for tile in some.tiles] == [(1, 128.0, 0.0)]
    assert (
        (some.downsample_x, some.downsample_y)
        == (1.0, 0.5 / 0.25)
        == (grid.downsample_x, grid.downsample_y)
    )


@real_slides
class TestRealSlides:
    def with_tissue(self, name: str, mpp: float | None = None) -> tuple[Slide, Grid, Grid]:
        """Return the slide, its grid and the tiles with tissue."""
        slide = Slide.open(SLIDES / name, mpp)
        grid = tile_grid(resolve_roi(None, slide.frame), slide.frame, CARD)
        return slide, grid, tissue_tiles(slide, grid)

    def test_skin_is_kept_and_the_glass_beside_it_is_not(self) -> None:
        """Every dropped tile is white but for a speck of dirt; about half the tiles are dropped."""
        slide, grid, some = self.with_tissue("CMU-1-Small-Region.svs")
        dropped = set(grid.tiles) - set(some.tiles)
        with slide:
            for tile in dropped:
                pixels = slide.read(tile.x, tile.y, 128, 128, grid.downsample_x, grid.downsample_y)
                assert np.median(pixels) > 230
                assert (np.ptp(pixels, axis=2) > 40).mean() < 0.01
        assert 0.3 < len(dropped) / len(grid.tiles) < 0.6

    def test_an_ihc_photograph_full_of_tissue_is_kept_whole(self) -> None:
        """Pale stroma with blue nuclei is kept beside brown glands."""
        slide, grid, some = self.with_tissue("skimage-ihc.png", 0.5)
        slide.close()
        assert some == grid
