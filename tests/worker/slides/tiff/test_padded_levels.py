"""Levels that are padded to whole tiles: their downsample is not the ratio of the sizes."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import tifffile

from tests.support import vendor_slides
from tests.support.slides import JPEG_RGB, LOSSLESS, shrunk
from worker.geometry.frame import Pixels
from worker.slides.slide import Slide

WIDTH: Final = 704
HEIGHT: Final = 448
TILE: Final = 64


def positions() -> Pixels:
    """Return an image whose red and green tell the place of each pixel, in 1/3 and 1/2 of it."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x // 3, y // 2, np.zeros_like(x)], axis=2).astype(np.uint8)


def padded(picture: Pixels) -> Pixels:
    """Return the picture, made whole tiles by grey at the right and below."""
    height, width = (-(-length // TILE) * TILE for length in picture.shape[:2])
    whole = np.full((height, width, 3), 128, np.uint8)
    whole[: picture.shape[0], : picture.shape[1]] = picture
    return whole


def levels() -> list[Pixels]:
    """Return levels at 2, 4 and 8 times the size of the pixels, all of them padded."""
    return [padded(shrunk(positions(), factor)) for factor in (2, 4, 8)]


def tiff(path: Path, pages: list[Pixels], stored: Any, *, ratio: float = 2) -> Path:
    """Write a tiled TIFF whose resolution tags say that each page is `ratio` times as coarse."""
    options: dict[str, Any] = {"metadata": None, "tile": (TILE, TILE), "resolutionunit": 3}
    if path.suffix == ".svs":
        options["description"] = (
            f"Aperio Image Library v11.2.1\r\n{WIDTH}x{HEIGHT} ({TILE}x{TILE})|AppMag = 20|MPP = 0.5"
        )
    with tifffile.TiffWriter(path) as writer:
        for number, page in enumerate(pages):
            dots = 20_000 / ratio**number
            reduced = int(number > 0 and path.suffix != ".svs")
            writer.write(page, resolution=(dots, dots), subfiletype=reduced, **(stored | options))
    return path


def shows_the_places(path: Path, off: float) -> None:
    """Fail unless every resolution shows the places right, at the right and lower edge too.

    The outermost pixels, in which the slide's edge may be mixed with white, do not count.
    """
    with Slide.open(path) as slide:
        assert (slide.frame.width, slide.frame.height) == (WIDTH, HEIGHT)
        for downsample in (1, 2, 3, 4, 8):
            edge = 32 // downsample
            for x, y in [(0, 0), (WIDTH - 32, HEIGHT - 32), (WIDTH - 64, 0), (128, HEIGHT - 32)]:
                found = slide.read(x, y, edge, edge, downsample, downsample).astype(float)
                columns = x + downsample * (np.arange(edge) + 0.5)
                rows = y + downsample * (np.arange(edge) + 0.5)
                off_x = np.abs(found[..., 0] - columns / 3)[1:-1, 1:-1].max()
                off_y = np.abs(found[..., 1] - rows[:, None] / 2)[1:-1, 1:-1].max()
                assert max(off_x, off_y) <= off, (downsample, x, y, off_x, off_y)


def test_philips_states_the_spacing_of_each_level(tmp_path: Path) -> None:
    """704 px are 88 at an eighth, and 128 are stored."""
    assert [page.shape[1] for page in levels()] == [384, 192, 128]
    shows_the_places(vendor_slides.philips(tmp_path / "a", positions(), LOSSLESS, levels()), off=2)


@pytest.mark.parametrize("stored", [LOSSLESS, JPEG_RGB], ids=["Deflate", "JPEG"])
@pytest.mark.parametrize("suffix", [".tif", ".svs"])
def test_resolution_tags_tell_the_padding(tmp_path: Path, suffix: str, stored: Any) -> None:
    """OpenSlide, which takes the ratio of the sizes, is not asked for such an Aperio slide."""
    path = tiff(tmp_path / f"a{suffix}", [positions(), *levels()], stored)
    shows_the_places(path, off=6)


@pytest.mark.parametrize("stored", [LOSSLESS, JPEG_RGB], ids=["Deflate", "JPEG"])
@pytest.mark.parametrize("suffix", [".tif", ".svs"])
def test_a_level_that_contradicts_its_tags_is_not_used(
    tmp_path: Path, suffix: str, stored: Any
) -> None:
    """Its tags say a third, its size and picture say a quarter."""
    false = padded(shrunk(positions(), 4))[: HEIGHT // 4 // TILE * TILE]
    path = tiff(tmp_path / f"a{suffix}", [positions(), false], stored, ratio=1.2)
    shows_the_places(path, off=6)
