"""What a slide's frame says: how large its pixels are, and whose word that is."""

from pathlib import Path

import pytest
import tifffile

from tests.support.mirax import TILE_PX, a_mirax
from tests.support.slides import a_picture, a_slide, a_tiled_tiff
from worker.geometry.mpp import server_properties, spacing
from worker.slides.slide import Slide


def test_what_the_slide_says_is_believed_first(tmp_path: Path) -> None:
    """The slide's own mpp wins over the order's."""
    with Slide.open(a_slide(tmp_path / "a.svs", a_picture(70, 50), mpp=0.2527), mpp=0.5) as slide:
        assert (slide.frame.mpp_x, slide.frame.mpp_y, slide.frame.mpp_source) == (
            0.2527,
            0.2527,
            "slide",
        )


def test_tiff_tags_are_believed_before_the_order(tmp_path: Path) -> None:
    """A generic TIFF's resolution tags count, each axis for itself, tiled (OpenSlide) or striped
    (Pillow)."""
    tiled = a_tiled_tiff(tmp_path / "tiled.tiff", a_picture(70, 50), (20000, 40000))
    striped = tmp_path / "striped.tiff"
    tifffile.imwrite(
        striped,
        a_picture(70, 50),
        photometric="rgb",
        resolution=(50800, 101600),
        resolutionunit="INCH",
    )
    for path in (tiled, striped):
        with Slide.open(path, mpp=0.7) as slide:
            assert (slide.frame.mpp_x, slide.frame.mpp_y) == pytest.approx((0.5, 0.25))
            assert slide.frame.mpp_source == "tiff"


@pytest.mark.parametrize("mpp", [0, -1, 352.78, float("nan")])
def test_absurd_microns_are_not_believed(tmp_path: Path, mpp: float) -> None:
    """A slide that says nothing possible leaves the word to the order."""
    with Slide.open(a_slide(tmp_path / "a.svs", a_picture(70, 50), mpp=mpp), mpp=0.5) as slide:
        assert (slide.frame.mpp_x, slide.frame.mpp_source) == (0.5, "order")


@pytest.mark.parametrize("dots_per_inch", [72, 96, 300])
def test_the_resolution_of_screens_and_printers_is_not_believed(
    tmp_path: Path, dots_per_inch: int
) -> None:
    """72, 96 and 300 dpi are what programs write who know nothing."""
    path = a_tiled_tiff(tmp_path / "a.tiff", a_picture(70, 50), (dots_per_inch / 2.54,) * 2)
    with Slide.open(path, mpp=0.5) as slide:
        assert (slide.frame.mpp_x, slide.frame.mpp_source) == (0.5, "order")


def test_a_slide_without_mpp_opens_and_says_so(tmp_path: Path) -> None:
    """Who reads no pixels needs no mpp."""
    with Slide.open(a_slide(tmp_path / "a.svs", a_picture(70, 50), mpp=None)) as slide:
        assert (slide.frame.mpp_x, slide.frame.mpp_y, slide.frame.mpp_source) == (
            None,
            None,
            "none",
        )


def test_the_bounds_offset_is_openslide_s(tmp_path: Path) -> None:
    """Scanners that leave a margin name where the scanned part begins; others have none."""
    pixels = a_picture(96, 64)
    with Slide.open(a_mirax(tmp_path, pixels, column=2, row=1)) as slide:
        assert (slide.frame.bounds_x, slide.frame.bounds_y) == (2 * TILE_PX, TILE_PX)
    with Slide.open(a_slide(tmp_path / "a.svs", pixels)) as slide:
        assert (slide.frame.bounds_x, slide.frame.bounds_y) == (0, 0)


def test_what_an_image_server_says_is_its_own_word() -> None:
    """Each axis for itself, before the order's; not what screens and printers write, which such
    servers pass on."""
    assert spacing(server_properties(0.25, 0.5), 0.7) == (0.25, 0.5, "server")
    assert spacing(server_properties(84.7, 84.7), 0.7) == (0.7, 0.7, "order")
    assert spacing(server_properties(None, None)) == (None, None, "none")
