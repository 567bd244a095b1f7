"""The frame of a slide, its pixels and its refusals."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image

from broker.errors import OrderError
from broker.orders.roi import Rectangle
from tests.support import vendor_slides
from tests.support.paths import SLIDES
from tests.support.slides import a_picture, a_slide, a_slope, a_tiled_tiff, shrunk
from worker.geometry.frame import Area, Pixels
from worker.geometry.roi import resolve_roi
from worker.slides.slide import Slide

real_slides = pytest.mark.skipif(not SLIDES.is_dir(), reason="there is no ../shared/slides")


def whole(slide: Slide) -> Pixels:
    """Return all of level 0."""
    return slide.read(0, 0, slide.frame.width, slide.frame.height, 1, 1)


class TestPixels:
    def test_level_0_is_the_file_s_own_pixels(self, tmp_path: Path) -> None:
        """At downsample 1 and a whole location every pixel is the file's, also across tiles."""
        path = a_slide(tmp_path / "a.svs", a_picture(203, 151))
        with Slide.open(path) as slide:
            assert np.array_equal(
                slide.read(37, 61, 120, 80, 1, 1), tifffile.imread(path)[61:141, 37:157]
            )

    def test_a_level_s_own_pixels_come_back_untouched(self, tmp_path: Path) -> None:
        """At a level's own ratio nothing is resampled: the pixels are OpenSlide's to the bit."""
        path = a_slide(tmp_path / "a.svs", a_picture(512, 256), levels=(1, 4))
        with Slide.open(path) as slide, openslide.OpenSlide(path) as reference:
            level_1 = tifffile.imread(path, key=2)
            assert np.array_equal(slide.read(64, 32, 100, 50, 4, 4), level_1[8:58, 16:116])
            between = np.asarray(reference.read_region((66, 33), 1, (50, 40)).convert("RGB"))
            assert np.array_equal(slide.read(66, 33, 50, 40, 4, 4), between)

    @pytest.mark.parametrize(
        ("downsample_x", "downsample_y"),
        [(0.5, 0.5), (1.37, 1.37), (3, 3), (3.7, 3.7), (4.1, 1.2), (9, 9), (9.9, 10.7)],
    )
    @pytest.mark.parametrize("levels", [(1,), (1, 3, 9)])
    def test_every_pixel_covers_its_box_of_level_0(
        self, tmp_path: Path, levels: tuple[int, ...], downsample_x: float, downsample_y: float
    ) -> None:
        """On a slide whose colors tell the position, every pixel shows the center of its box.

        Every level leaves a remainder of the slide's dimensions, so that OpenSlide's downsamples
        are not whole numbers.
        """
        path = a_slide(tmp_path / "a.svs", a_slope(125, 101), levels=levels)
        x, y = 25.25, 22.5
        width_px, height_px = int(70 / downsample_x), int(56 / downsample_y)
        with Slide.open(path) as slide:
            region = (
                slide.read(x, y, width_px, height_px, downsample_x, downsample_y).astype(float) / 2
            )
        across = x + (np.arange(width_px) + 0.5) * downsample_x - 0.5
        down = y + (np.arange(height_px) + 0.5) * downsample_y - 0.5
        for off in (region[..., 0] - across, region[..., 1] - down[:, None]):
            assert (
                np.abs(off).max() <= 0.75
            )  # level-0 pixels; a grey value is half of one, and every step rounds
            assert abs(off.mean()) <= 0.35

    def test_tiles_join_without_a_seam(self, tmp_path: Path) -> None:
        """Neighbours read one by one equal one large read, but for the last bit of rounding."""
        path = a_slide(tmp_path / "a.svs", a_picture(300, 200), levels=(1,))
        with Slide.open(path) as slide:
            once = slide.read(11, 7, 128, 64, 1.7, 1.7)
            left, right = (
                slide.read(11, 7, 64, 64, 1.7, 1.7),
                slide.read(11 + 64 * 1.7, 7, 64, 64, 1.7, 1.7),
            )
        assert np.abs(once.astype(int) - np.concatenate([left, right], axis=1)).max() <= 1

    def test_a_large_read_is_made_of_blocks_that_fit(self, tmp_path: Path) -> None:
        """A region larger than a block is read in several, and agrees with Pillow on the whole
        image.
        """
        pixels = a_picture(5000, 40)
        path = a_tiled_tiff(tmp_path / "a.tiff", pixels)
        with Slide.open(path) as slide:
            region = slide.read(0, 0, 2000, 16, 2.5, 2.5)
        expected = np.asarray(Image.fromarray(pixels).resize((2000, 16), Image.Resampling.BILINEAR))
        assert np.abs(region[1:-1, 1:-1].astype(int) - expected[1:-1, 1:-1]).max() <= 1

    def test_outside_the_slide_is_white(self, tmp_path: Path) -> None:
        """A region that reaches beyond every edge is white around the slide."""
        pixels = a_picture(50, 40)
        with Slide.open(a_slide(tmp_path / "a.svs", pixels, levels=(1,))) as slide:
            region = slide.read(-10, -10, 80, 70, 1, 1)
        assert np.array_equal(region[10:50, 10:60], pixels)
        region[10:50, 10:60] = 255
        assert (region == 255).all()

    def test_transparent_pixels_are_laid_on_white(self, tmp_path: Path) -> None:
        """Half transparent black on white is grey. Fully transparent pixels are white."""
        Image.fromarray(np.array([[[0, 0, 0, 255], [0, 0, 0, 128], [9, 9, 9, 0]]], np.uint8)).save(
            tmp_path / "a.png"
        )
        with Slide.open(tmp_path / "a.png") as slide:
            assert whole(slide)[0, :, 0].tolist() == [0, 127, 255]

    def test_an_overview_shows_exactly_the_area(self, tmp_path: Path) -> None:
        """It has `max_px` pixels, its corners are the area's, and it never magnifies."""
        with Slide.open(a_slide(tmp_path / "a.svs", a_slope(125, 101), levels=(1, 2))) as slide:
            picture = slide.overview(Area(20, 10, 90, 60), 30)
            assert picture.shape == (20, 30, 3)
            assert picture[0, 0].tolist() == pytest.approx([2 * 21, 2 * 11, 0], abs=1)
            assert picture[-1, -1].tolist() == pytest.approx([2 * 108, 2 * 68, 0], abs=1)
            assert slide.overview(Area(0, 0, 30, 20), 1000).shape == (20, 30, 3)

    def test_threads_may_share_a_slide(self, tmp_path: Path) -> None:
        """Eight threads read 64 regions of a slide and of a plain image without errors."""
        pixels = a_picture(256, 256)
        Image.fromarray(pixels).save(tmp_path / "a.png")
        for path in (a_slide(tmp_path / "a.svs", pixels), tmp_path / "a.png"):
            corners = [(x, y) for x in range(0, 256, 32) for y in range(0, 256, 32)]
            with Slide.open(path) as slide, ThreadPoolExecutor(8) as pool:
                regions = list(
                    pool.map(lambda corner, s=slide: s.read(*corner, 32, 32, 1, 1), corners)
                )
            assert all(
                np.array_equal(r, pixels[y : y + 32, x : x + 32])
                for r, (x, y) in zip(regions, corners, strict=True)
            )


class TestArea:
    def test_a_region_is_clipped_to_the_slide(self, tmp_path: Path) -> None:
        """The rectangle is clipped to the slide. Without one the area is the whole slide."""
        with Slide.open(a_slide(tmp_path / "a.svs", a_picture(100, 80))) as slide:
            assert resolve_roi(None, slide.frame) == Area(0, 0, 100, 80)
            assert resolve_roi(Rectangle(x=10, y=20, width=30, height=40), slide.frame) == Area(
                10, 20, 30, 40
            )
            assert resolve_roi(Rectangle(x=99, y=79, width=500, height=500), slide.frame) == Area(
                99, 79, 1, 1
            )

    @pytest.mark.parametrize(("x", "y"), [(100, 0), (0, 80), (5000, 5000)])
    def test_a_region_beside_the_slide_is_refused(self, tmp_path: Path, x: int, y: int) -> None:
        """The message states the rectangle and the slide's size."""
        with (
            Slide.open(a_slide(tmp_path / "a.svs", a_picture(100, 80))) as slide,
            pytest.raises(OrderError) as caught,
        ):
            resolve_roi(Rectangle(x=x, y=y, width=7, height=9), slide.frame)
        assert caught.value.code == "roi_outside_slide"
        assert "7 x 9" in caught.value.detail
        assert f"({x}, {y})" in caught.value.detail
        assert "100 x 80" in caught.value.detail


@real_slides
class TestRealSlides:
    def test_an_aperio_slide_reads_as_tifffile_reads_it(self) -> None:
        """Skin of 2220 x 2967 px at 0.499 µm: a region across JPEG tiles equals tifffile's."""
        path = SLIDES / "CMU-1-Small-Region.svs"
        with Slide.open(path, mpp=0.25) as slide:
            assert (slide.frame.width, slide.frame.height) == (2220, 2967)
            assert (slide.frame.mpp_x, slide.frame.mpp_source) == (0.499, "slide")
            assert "aperio" in slide.reader
            region = slide.read(1000, 2500, 700, 467, 1, 1)
        assert np.array_equal(region, tifffile.imread(path)[2500:2967, 1000:1700])

    def test_a_slide_stripped_of_its_metadata_needs_the_order_s_mpp(self) -> None:
        """A part of a TCGA slide has no MPP, and a resolution unit without a resolution."""
        path = SLIDES / "tcga-cr-7395-01a-01-ts1.svs"
        with Slide.open(path) as slide, Slide.open(path, mpp=0.25) as with_mpp:
            assert slide.frame.mpp_source == "none"
            assert (with_mpp.frame.mpp_x, with_mpp.frame.mpp_source) == (0.25, "order")

    def test_levels_lie_on_level_0_to_the_last_corner(self) -> None:
        """Of 4443 x 3567 px the second level has 2221 x 1783: odd columns and rows are dropped."""
        with Slide.open(SLIDES / "tcga-cr-7395-01a-01-ts1.svs") as slide:
            level_1 = slide.read(3000, 2100, 300, 300, 2, 2).astype(float)
            shifted = {
                d: shrunk(slide.read(3000 + d, 2100, 600, 600, 1, 1), 2) for d in (-2, -1, 0, 1, 2)
            }
        differences = {d: np.abs(picture - level_1).mean() for d, picture in shifted.items()}
        assert min(differences, key=lambda d: differences[d]) == 0

    def test_a_generic_tiff_of_72_dpi_has_no_mpp(self) -> None:
        """OpenSlide reports 352.8 µm for it, which is the size of a screen's pixel."""
        with Slide.open(SLIDES / "openslide-boxes.tiff") as slide:
            assert (slide.frame.width, slide.frame.height, slide.frame.mpp_source) == (
                300,
                250,
                "none",
            )
            with Image.open(SLIDES / "openslide-boxes.tiff") as picture:
                assert np.array_equal(whole(slide), np.asarray(picture.convert("RGB")))

    def test_a_dicom_slide_has_its_own_two_spacings(self) -> None:
        """A low level of a lymph node has 28.969 by 28.968 µm."""
        with Slide.open(SLIDES / "camelyon-lowres-level.dcm") as slide:
            assert (slide.frame.width, slide.frame.height) == (1152, 700)
            assert (slide.frame.mpp_x, slide.frame.mpp_y, slide.frame.mpp_source) == (
                28.969,
                28.968,
                "slide",
            )
            assert slide.overview(resolve_roi(None, slide.frame), 100).shape == (61, 100, 3)


def test_a_ventana_slide_is_read_by_openslide(tmp_path: Path) -> None:
    """Its tiles are joined to the right and upwards."""
    pixels = np.full((128, 192, 3), 200, np.uint8)
    pixels[:64, :96] = 90
    with Slide.open(vendor_slides.ventana(tmp_path / "a", pixels)) as slide:
        assert (slide.frame.width, slide.frame.height, slide.frame.mpp_x) == (192, 128, 0.5)
        assert np.abs(slide.read(0, 0, 192, 128, 1, 1).astype(int) - pixels).mean() < 2


@pytest.mark.parametrize(("across", "up"), [("LEFT", "UP"), ("RIGHT", "DOWN")])
def test_a_ventana_slide_joined_otherwise_is_refused_with_a_true_hint(
    tmp_path: Path, across: str, up: str
) -> None:
    """The file is not damaged: it opens in other viewers, so sending it again is no help."""
    path = vendor_slides.ventana(tmp_path / "a", a_picture(192, 128), across, up)
    with pytest.raises(OrderError, match="Bad direction attribute") as caught:
        Slide.open(path)
    assert caught.value.code == "slide_unreadable"
    assert "export it as DICOM or pyramidal TIFF" in caught.value.hint
