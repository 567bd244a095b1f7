"""TIFFs of every layout and compression, read tile by tile: always the pixels that were written."""

from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
import tifffile

from broker.errors import OrderError
from tests.support.paths import SLIDES
from tests.support.reader_suite import HEIGHT, WIDTH, ReaderSuite
from tests.support.slides import a_picture, a_slide
from worker.geometry.frame import Pixels
from worker.slides.tiff.reader import TiffPyramid, open_tiff

real_slides = pytest.mark.skipif(not SLIDES.is_dir(), reason="there is no ../shared/slides")

LOSSLESS: dict[str, dict[str, Any]] = {
    "uncompressed": {},
    "LZW": {"compression": "lzw"},
    "LZW, differences": {"compression": "lzw", "predictor": True},
    "Deflate": {"compression": "zlib"},
    "Zstd": {"compression": "zstd"},
    "LZMA": {"compression": "lzma"},
    "PackBits": {"compression": "packbits"},
    "PNG": {"compression": "png"},
    "JPEG 2000": {"compression": "jpeg2000"},
    "JPEG 2000, Aperio's": {"compression": "aperio_jp2000_rgb", "compressionargs": {"level": 0}},
    "JPEG XR": {"compression": "jpegxr"},
    "JPEG XL": {"compression": "jpegxl", "compressionargs": {"lossless": True}},
    "WebP": {"compression": "webp", "compressionargs": {"lossless": True}},
}
LAYOUTS: dict[str, dict[str, Any]] = {
    "tiles": {"tile": (64, 64)},
    "strips": {"rowsperstrip": 16},
    "one strip": {"rowsperstrip": HEIGHT},
    "tiles, big-endian BigTIFF": {"tile": (64, 64), "bigtiff": True, "byteorder": ">"},
}


class TestTiles(ReaderSuite):
    def make(self, folder: Path, pixels: Pixels) -> Path:
        """Deflate tiles and a level below."""
        return a_slide(folder / "a.tif", pixels, levels=(1, 4))

    def open(self, path: Path) -> TiffPyramid:
        return open_tiff(path)


class TestStrips(ReaderSuite):
    def make(self, folder: Path, pixels: Pixels) -> Path:
        """Every row a strip of its own."""
        tifffile.imwrite(
            folder / "a.tif",
            pixels,
            photometric="rgb",
            compression="lzw",
            rowsperstrip=1,
            metadata=None,
        )
        return folder / "a.tif"

    def open(self, path: Path) -> TiffPyramid:
        return open_tiff(path)


def whole(path: Path) -> Pixels:
    """Level 0 in RGB, by `open_tiff`."""
    pyramid = open_tiff(path)
    try:
        return np.asarray(
            pyramid.read_region((0, 0), 0, pyramid.level_dimensions[0]).convert("RGB")
        )
    finally:
        pyramid.close()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("compression", LOSSLESS)
def test_every_lossless_compression_gives_the_pixels_written(
    tmp_path: Path, compression: str, layout: str
) -> None:
    """Of each compression, in tiles and in strips of either byte order; its name is in the reader's."""
    pixels, path = a_picture(WIDTH, HEIGHT), tmp_path / "a.tif"
    tifffile.imwrite(
        path, pixels, photometric="rgb", metadata=None, **LAYOUTS[layout], **LOSSLESS[compression]
    )
    assert np.array_equal(whole(path), pixels)
    pyramid = open_tiff(path)
    assert pyramid.name == f"tifffile {tifffile.__version__} ({compression.split(',')[0]})"
    pyramid.close()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("compression", [name for name in LOSSLESS if name != "WebP"])
def test_samples_stored_apart_come_together(tmp_path: Path, compression: str, layout: str) -> None:
    """Red, green and blue in tiles of their own. WebP knows no single channel."""
    pixels, path = a_picture(WIDTH, HEIGHT), tmp_path / "a.tif"
    planar = np.moveaxis(pixels, 2, 0)
    tifffile.imwrite(path, planar, photometric="rgb", planarconfig="separate", metadata=None, **LAYOUTS[layout],
                     **LOSSLESS[compression])  # fmt: skip
    assert np.array_equal(whole(path), pixels)


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 1), (2, 2)])
def test_jpeg_tiles_are_those_that_openslide_shows(
    tmp_path: Path, subsampling: tuple[int, int]
) -> None:
    """Whatever the chroma subsampling: OpenSlide decodes with the same library."""
    pixels, path = a_picture(WIDTH, HEIGHT), tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, tile=(64, 64), photometric="rgb", compression="jpeg", subsampling=subsampling,
                     metadata=None)  # fmt: skip
    with openslide.OpenSlide(path) as reference:
        expected = np.asarray(reference.read_region((0, 0), 0, (WIDTH, HEIGHT)).convert("RGB"))
    assert np.array_equal(whole(path), expected)


def test_a_huge_uncompressed_strip_is_read_a_few_rows_at_a_time(tmp_path: Path) -> None:
    """All of 72 megapixels in one strip, more than may be decoded at a time; a corner costs no more than its rows."""
    pixels, path = a_picture(100, 50), tmp_path / "a.tif"
    canvas = tifffile.memmap(
        path, shape=(8000, 9000, 3), dtype=np.uint8, photometric="rgb", metadata=None
    )
    canvas[7950:, 8900:] = pixels
    del canvas
    pyramid = open_tiff(path)
    region = np.asarray(pyramid.read_region((8900, 7950), 0, (100, 50)).convert("RGB"))
    pyramid.close()
    assert np.array_equal(region, pixels)


def test_a_strip_that_claims_more_than_the_file_has_is_refused(tmp_path: Path) -> None:
    """Two thousand million rows are not even listed."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, a_picture(90, 70), photometric="rgb", metadata=None)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        for name, value in {
            "ImageWidth": 2**21,
            "ImageLength": 2**31,
            "RowsPerStrip": 2**31,
        }.items():
            tiff.pages[0].tags[name].overwrite(value, dtype="I")
    with pytest.raises(OrderError, match="ends before its 2097152 x 2147483648 px do"):
        open_tiff(path)


def test_a_tile_that_the_file_leaves_out_is_transparent(tmp_path: Path) -> None:
    """Scanners skip empty glass: nothing is stored for it."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, a_picture(128, 64), tile=(64, 64), photometric="rgb", metadata=None)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        first, second = tiff.pages[0].databytecounts
        tiff.pages[0].tags["TileByteCounts"].overwrite((first, 0 * second))
    pyramid = open_tiff(path)
    alpha = np.asarray(pyramid.read_region((0, 0), 0, (128, 64)).getchannel("A"))
    pyramid.close()
    assert (alpha[:, :64] == 255).all()
    assert not alpha[:, 64:].any()


@pytest.mark.parametrize("location", [(40, 20), (41, 22), (43, 31)])
def test_between_two_pixels_of_a_level_it_interpolates_as_openslide_does(
    tmp_path: Path, location: tuple[int, int]
) -> None:
    """A level-0 location that is no whole pixel of level 1: within the last bits of rounding of OpenSlide's answer."""
    path = a_slide(tmp_path / "a.svs", a_picture(512, 256), levels=(1, 4))
    pyramid = open_tiff(path)
    with openslide.OpenSlide(path) as reference:
        ours, theirs = (
            np.asarray(reader.read_region(location, 1, (70, 40))) for reader in (pyramid, reference)
        )
    pyramid.close()
    assert np.abs(ours.astype(int) - theirs).max() <= 2


@real_slides
@pytest.mark.parametrize(
    "name",
    ["CMU-1-Small-Region.svs", "tcga-cr-7395-01a-01-ts1.svs", "synth-ihc-8k.svs", "openslide-boxes.tiff",
     "openslide-small.svs"],
)  # fmt: skip
def test_real_slides_are_what_openslide_shows(name: str) -> None:
    """The same levels, and at level 0 the same pixels, bit for bit: JPEG, JPEG 2000 and Deflate of three makers."""
    pyramid = open_tiff(SLIDES / name)
    with openslide.OpenSlide(SLIDES / name) as reference:
        assert pyramid.level_dimensions == reference.level_dimensions
        assert pyramid.level_downsamples == pytest.approx(reference.level_downsamples)
        width, height = reference.dimensions
        for x, y in [(0, 0), (width // 2, height // 3), (width - 500, height - 400)]:
            ours, theirs = (
                r.read_region((max(x, 0), max(y, 0)), 0, (600, 500)) for r in (pyramid, reference)
            )
            assert np.array_equal(np.asarray(ours), np.asarray(theirs))
    pyramid.close()


@real_slides
def test_a_real_ome_tiff_that_openslide_does_not_know_is_read() -> None:
    """Its microns come from its OME-XML."""
    with pytest.raises(openslide.OpenSlideUnsupportedFormatError):
        openslide.OpenSlide(SLIDES / "instanseg-HE_example.tif")
    pyramid = open_tiff(SLIDES / "instanseg-HE_example.tif")
    assert pyramid.properties["openslide.mpp-x"].startswith("0.50007")
    assert pyramid.level_dimensions == ((1380, 1484),)
    pyramid.close()


def test_a_text_is_not_read(tmp_path: Path) -> None:
    """What has no TIFF header is refused."""
    (tmp_path / "a.tif").write_text("II, a comedy")
    with pytest.raises(OrderError):
        open_tiff(tmp_path / "a.tif")
