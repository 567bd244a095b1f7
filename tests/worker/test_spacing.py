"""What a slide's frame says: how large its pixels are, and whose word that is."""

from pathlib import Path

import openslide
import pytest
import tifffile
from makers import a_picture, a_slide, a_tiled_tiff
from PIL import Image

from worker.slide import Slide


def test_what_the_slide_says_is_believed_first(tmp_path: Path) -> None:
    """The slide's own mpp wins over the order's."""
    with Slide.open(a_slide(tmp_path / "a.svs", a_picture(70, 50), mpp=0.2527), mpp=0.5) as slide:
        assert (slide.frame.mpp_x, slide.frame.mpp_y, slide.frame.mpp_source) == (0.2527, 0.2527, "slide")


def test_tiff_tags_are_believed_before_the_order(tmp_path: Path) -> None:
    """A generic TIFF's resolution tags count, each axis for itself, tiled (OpenSlide) or striped (Pillow)."""
    tiled = a_tiled_tiff(tmp_path / "tiled.tiff", a_picture(70, 50), (20000, 40000))
    striped = tmp_path / "striped.tiff"
    tifffile.imwrite(striped, a_picture(70, 50), photometric="rgb", resolution=(50800, 101600), resolutionunit="INCH")
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
def test_the_resolution_of_screens_and_printers_is_not_believed(tmp_path: Path, dots_per_inch: int) -> None:
    """72, 96 and 300 dpi are what programs write who know nothing."""
    path = a_tiled_tiff(tmp_path / "a.tiff", a_picture(70, 50), (dots_per_inch / 2.54,) * 2)
    with Slide.open(path, mpp=0.5) as slide:
        assert (slide.frame.mpp_x, slide.frame.mpp_source) == (0.5, "order")


def test_a_slide_without_mpp_opens_and_says_so(tmp_path: Path) -> None:
    """Who reads no pixels needs no mpp."""
    with Slide.open(a_slide(tmp_path / "a.svs", a_picture(70, 50), mpp=None)) as slide:
        assert (slide.frame.mpp_x, slide.frame.mpp_y, slide.frame.mpp_source) == (None, None, "none")


def test_the_bounds_offset_is_openslide_s() -> None:
    """Scanners that leave a margin name where the scanned part begins; others have none."""
    handle = openslide.ImageSlide(Image.new("RGBA", (9, 9)))
    properties = {"openslide.bounds-x": "1007", "openslide.bounds-y": "23"}
    frame = Slide(Path("a"), handle, "test", properties, None).frame
    assert (frame.bounds_x, frame.bounds_y) == (1007, 23)
    assert Slide(Path("a"), handle, "test", {}, None).frame.bounds_x == 0
