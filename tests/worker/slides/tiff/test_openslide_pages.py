"""TIFFs that OpenSlide alone reads: false colors and deeper samples are refused, not shown."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import tifffile
from PIL import Image

from broker.errors import OrderError
from tests.support import vendor_slides
from tests.support.slides import JPEG_RGB, JPEG_YCBCR, a_slide, a_slope
from worker.geometry.frame import Pixels
from worker.slides.formats import open_reader

PIXELS: Final = a_slope(256, 192)
RGB, YCBCR = 2, 6
Maker = Callable[..., Path]
MAKERS: Final[dict[str, Maker]] = {
    "leica": vendor_slides.leica,
    "philips": vendor_slides.philips,
    "trestle": vendor_slides.trestle,
}


def state(path: Path, tag: str, value: Any, page: int | None = None) -> Path:
    """Let the tiled pages state another value, or one of them."""
    with tifffile.TiffFile(path, mode="r+") as tiff:
        for number, directory in enumerate(tiff.pages):
            if directory.is_tiled and page in (None, number):
                directory.tags[tag].overwrite(value)
    return path


def refusal(path: Path) -> OrderError:
    with pytest.raises(OrderError) as caught:
        open_reader(path).close()
    assert caught.value.code == "slide_unreadable"
    return caught.value


def shown(path: Path) -> Pixels:
    """Return the middle of the slide at level 0."""
    reader = open_reader(path)
    assert reader.name.startswith("OpenSlide")
    x = int(reader.properties.get("openslide.bounds-x", 0))
    y = int(reader.properties.get("openslide.bounds-y", 0))
    region = np.asarray(reader.read_region((x + 40, y + 40), 0, (64, 64)))[..., :3]
    reader.close()
    return region


@pytest.mark.parametrize("vendor", MAKERS)
@pytest.mark.parametrize("mode", ["RGB", "YCbCr"])
def test_true_colors_are_left_to_openslide(tmp_path: Path, vendor: str, mode: str) -> None:
    """Pages that state what their tiles are, in both colors."""
    stored = JPEG_RGB if mode == "RGB" else JPEG_YCBCR
    samples = np.asarray(Image.fromarray(PIXELS).convert(mode))
    path = MAKERS[vendor](tmp_path / "a", samples, stored)
    assert np.abs(shown(path).astype(int) - PIXELS[40:104, 40:104]).mean() < 4


@pytest.mark.parametrize("vendor", MAKERS)
def test_halved_colors_are_no_rgb(tmp_path: Path, vendor: str) -> None:
    """OpenSlide would show white as (245, 128, 128)."""
    path = MAKERS[vendor](tmp_path / "a", PIXELS, JPEG_YCBCR)
    error = refusal(state(path, "PhotometricInterpretation", RGB))
    assert "the colours that its pages state are not those of its tiles" in error.detail
    assert "PhotometricInterpretation" in error.hint


def test_any_level_may_be_wrong(tmp_path: Path) -> None:
    """The second page alone."""
    path = vendor_slides.philips(tmp_path / "a", PIXELS, JPEG_YCBCR)
    assert (
        "not those of its tiles" in refusal(state(path, "PhotometricInterpretation", RGB, 1)).detail
    )


def test_ventana_is_checked_too(tmp_path: Path) -> None:
    """Its tiles are YCbCr, and RGB is said."""
    pixels = a_slope(256, 128)
    path = vendor_slides.ventana(tmp_path / "a", pixels)
    open_reader(path).close()
    assert "not those of its tiles" in refusal(state(path, "PhotometricInterpretation", RGB)).detail


@pytest.mark.parametrize("vendor", MAKERS)
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_more_than_eight_bits_are_refused(tmp_path: Path, vendor: str, dtype: Any) -> None:
    """Nothing in these formats says which value is white."""
    path = MAKERS[vendor](tmp_path / "a", PIXELS.astype(dtype) * 16)
    detail = refusal(path).detail
    assert "OpenSlide says" in detail or f"slides in the format of {vendor} unsigned ones" in detail


def test_an_aperio_slide_that_tifffile_refuses_is_checked_as_well(tmp_path: Path) -> None:
    """Stored turned, and its halved colours said to be RGB."""
    path = a_slide(
        tmp_path / "a.svs", PIXELS, stored=JPEG_YCBCR | {"extratags": [(274, 3, 1, 3, True)]}
    )
    reader = open_reader(path)
    assert reader.name == "OpenSlide 4.0.1 (aperio)"
    reader.close()
    state(path, "PhotometricInterpretation", RGB)
    assert "not those of its tiles" in refusal(path).detail
