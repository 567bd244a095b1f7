"""Colors of a TIFF: grey, palettes, CMYK, more than 8 bits, transparency; and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from broker.errors import OrderError
from tests.support.slides import a_picture
from worker.geometry.frame import Pixels
from worker.slides.slide import Slide
from worker.slides.tiff.reader import open_tiff

PIXELS = a_picture(80, 70)
GREY = PIXELS[..., 0]
DEEP = np.random.default_rng(1).integers(0, 2**16, (70, 80, 3), dtype=np.uint16)


def shown(path: Path, samples: NDArray[Any], **how: Any) -> Pixels:
    """Write samples to a TIFF and return them as read back, in RGBA."""
    tifffile.imwrite(path, samples, metadata=None, **how)
    pyramid = open_tiff(path)
    try:
        return np.asarray(pyramid.read_region((0, 0), 0, (80, 70)))
    finally:
        pyramid.close()


def grey(values: Pixels) -> Pixels:
    """Return a grey image as RGB."""
    return np.repeat(values[..., None], 3, axis=2)


@pytest.mark.parametrize("compression", [None, "lzw", "jpegxl", "jpegxr", "png", "jpeg2000"])
@pytest.mark.parametrize("layout", [{"tile": (64, 64)}, {"rowsperstrip": 16}])
def test_one_channel_is_grey(
    tmp_path: Path, compression: str | None, layout: dict[str, Any]
) -> None:
    """Red, green and blue have the same value."""
    found = shown(
        tmp_path / "a.tif", GREY, photometric="minisblack", compression=compression, **layout
    )
    assert np.array_equal(found[..., :3], grey(GREY))


def test_where_white_is_zero_grey_is_inverted(tmp_path: Path) -> None:
    """In MINISWHITE 0 is white."""
    assert np.array_equal(
        shown(tmp_path / "a.tif", GREY, photometric="miniswhite")[..., :3], grey(255 - GREY)
    )


def test_a_bit_is_black_or_white(tmp_path: Path) -> None:
    """A mask of one bit per pixel has full contrast."""
    found = shown(tmp_path / "a.tif", GREY > 127, photometric="minisblack", compression="lzw")
    assert np.array_equal(found[..., :3], grey(np.where(GREY > 127, 255, 0).astype(np.uint8)))


def test_a_palette_gives_the_colours(tmp_path: Path) -> None:
    """Each value is looked up in the color map, which has 16 bits."""
    table = np.random.default_rng(2).integers(0, 256, (3, 256)).astype(np.uint16)
    found = shown(tmp_path / "a.tif", GREY, photometric="palette", colormap=table * 257)
    assert np.array_equal(found[..., :3], np.moveaxis(table[:, GREY], 0, 2))


def test_inks_are_mixed_as_pillow_mixes_them(tmp_path: Path) -> None:
    """CMYK of four samples is converted like Pillow does."""
    inks = np.dstack([PIXELS, GREY // 2])
    expected = np.asarray(Image.fromarray(inks, "CMYK").convert("RGB"))
    found = shown(tmp_path / "a.tif", inks, photometric="separated", tile=(64, 64))
    assert np.array_equal(found[..., :3], expected)


def test_ycbcr_without_jpeg_is_converted(tmp_path: Path) -> None:
    """Uncompressed YCbCr without subsampling becomes RGB like Pillow's."""
    expected = np.asarray(Image.fromarray(PIXELS, "YCbCr").convert("RGB"))
    found = shown(
        tmp_path / "a.tif", PIXELS, photometric="ycbcr", extratags=[(530, 3, 2, (1, 1), True)]
    )
    assert np.array_equal(found[..., :3], expected)


@pytest.mark.parametrize(
    ("compression", "byteorder"),
    [
        (None, "<"),
        (None, ">"),
        ("zlib", "<"),
        ("zlib", ">"),
        ("jpegxl", "<"),
        ("jpegxr", "<"),
        ("jpeg2000", "<"),
    ],
)
def test_of_16_bits_the_high_ones_are_shown(
    tmp_path: Path, compression: str | None, byteorder: str
) -> None:
    """RGB of 16 bits keeps its upper eight, in either byte order."""
    found = shown(
        tmp_path / "a.tif", DEEP, photometric="rgb", compression=compression, byteorder=byteorder
    )
    assert np.array_equal(found[..., :3], DEEP >> 8)


def test_deep_grey_is_spread_over_the_range_that_the_file_tells(tmp_path: Path) -> None:
    """12 bits in 16 are scaled from MinSampleValue, which is 0 by default, to MaxSampleValue."""
    camera = DEEP[..., 0] % 4096
    white = (281, 3, 1, 4095, True)
    for told in ([(280, 3, 1, 0, True), white], [white]):
        spread = shown(tmp_path / "a.tif", camera, photometric="minisblack", extratags=told)
        assert np.abs(spread[..., 0] - camera * (255 / 4095)).max() < 1


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("stated", [{}, {"extratags": [(281, 3, 1, 65535, True)]}])
def test_deep_grey_is_treated_like_color(
    tmp_path: Path, photometric: str, stated: dict[str, Any]
) -> None:
    """Values that fill 16 bits show their high ones. Fewer could be 12 bits, 16 times too dark."""
    full = DEEP[..., 0]
    found = shown(tmp_path / "a.tif", full, photometric=photometric, **stated)[..., 0]
    expected = full >> 8
    if photometric == "miniswhite":
        expected = 255 - expected
    assert np.array_equal(found, expected)
    with pytest.raises(OrderError, match="nothing in the file says which value is white"):
        shown(tmp_path / "b.tif", full % 4096, photometric=photometric, **stated)


@pytest.mark.parametrize("compression", [None, "lzw", "webp", "jpegxl", "png"])
@pytest.mark.parametrize(
    ("kind", "alpha"),
    [("unspecified", (255, 255)), ("assocalpha", (0, 255)), ("unassalpha", (0, 255))],
)
def test_alpha_is_what_the_file_says_it_is(
    tmp_path: Path, compression: str | None, kind: str, alpha: tuple[int, int]
) -> None:
    """Transparency is kept, premultiplied colors are restored, an unspecified fourth sample is
    ignored.
    """
    opaque = np.where(GREY > 127, 255, 0).astype(np.uint8)
    stored = np.dstack(
        [PIXELS if kind != "assocalpha" else PIXELS * (opaque[..., None] // 255), opaque]
    )
    options = {"lossless": True} if compression in {"webp", "jpegxl"} else None
    found = shown(
        tmp_path / "a.tif",
        stored,
        photometric="rgb",
        extrasamples=[kind],
        compression=compression,
        compressionargs=options,
        tile=(64, 64),
    )
    assert (found[..., 3].min(), found[..., 3].max()) == alpha
    assert np.array_equal(found[opaque == 255][:, :3], PIXELS[opaque == 255])


@pytest.mark.parametrize(
    ("samples", "how", "words"),
    [
        (PIXELS.astype(np.float32), {"photometric": "rgb"}, "32 bits"),
        (DEEP.astype(np.int16), {"photometric": "rgb"}, r"16 bits \(INT\)"),
        (
            np.zeros((70, 80, 5), np.uint8),
            {"photometric": "minisblack", "planarconfig": "contig"},
            "5 channels",
        ),
        (
            np.zeros((70, 80, 2), np.uint8),
            {"photometric": "minisblack", "planarconfig": "contig"},
            "2 channels",
        ),
        (
            PIXELS,
            {"photometric": "minisblack", "planarconfig": "contig"},
            "3 channels, as in fluorescence",
        ),
        (PIXELS, {"photometric": "cielab"}, "CIELAB"),
        (PIXELS, {"photometric": "rgb", "compression": "lerc"}, r"LERC \(34887\)"),
    ],
)
def test_what_is_no_picture_in_colour_is_refused(
    tmp_path: Path, samples: NDArray[Any], how: dict[str, Any], words: str
) -> None:
    """Floating point, signed samples, fluorescence channels and other color spaces are refused."""
    with pytest.raises(OrderError, match=words) as caught:
        shown(tmp_path / "a.tif", samples, **how)
    assert caught.value.code == "slide_unreadable"
    assert caught.value.hint


def test_aperio_s_jpeg_2000_in_ycbcr_is_what_openslide_shows(tmp_path: Path) -> None:
    """Compression 33003 is marked as RGB and holds YCbCr. Rounding may differ by one."""
    path = tmp_path / "a.svs"
    stored = np.asarray(Image.fromarray(PIXELS).convert("YCbCr"))
    found = shown(
        path,
        stored,
        photometric="rgb",
        compression="aperio_jp2000_ycbc",
        compressionargs={"level": 0, "mct": False},
        tile=(64, 64),
        description="Aperio Image Library\r\n80x70|AppMag = 20",
    )
    with openslide.OpenSlide(path) as reference:
        expected = np.asarray(reference.read_region((0, 0), 0, (80, 70)))
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_old_style_jpeg_of_whole_streams_is_read(tmp_path: Path) -> None:
    """In compression 6 every strip is a JPEG of its own."""
    path = tmp_path / "a.tif"
    expected = shown(path, PIXELS, photometric="rgb", compression="jpeg", rowsperstrip=16)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[0].tags["Compression"].overwrite(6)
    pyramid = open_tiff(path)
    assert np.array_equal(np.asarray(pyramid.read_region((0, 0), 0, (80, 70))), expected)
    pyramid.close()


TWELVE_BITS = PIXELS.astype(np.uint16) * 16


def with_bits(samples: NDArray[Any], bits: int) -> dict[str, Any]:
    """Return tifffile's options for OME-XML that states how many bits are significant."""
    height, width = samples.shape[:2]
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SignificantBits="{bits}" '
        f'SizeX="{width}" SizeY="{height}" SizeC="3" SizeZ="1" SizeT="1">'
        '<Channel ID="Channel:0:0" SamplesPerPixel="3"/><TiffData/></Pixels></Image></OME>'
    )
    return {"description": xml}


def with_white(*values: int) -> dict[str, Any]:
    """Return tifffile's options for a MaxSampleValue of each sample."""
    return {"extratags": [(281, 3, len(values), values, True)]}


@pytest.mark.parametrize("layout", [{"tile": (64, 64)}, {"planarconfig": "separate"}])
@pytest.mark.parametrize("bits", [9, 10, 12, 14])
def test_colour_is_scaled_to_the_white_that_the_file_states(
    tmp_path: Path, bits: int, layout: dict[str, Any]
) -> None:
    """By MaxSampleValue or OME-XML: values in 16 bits that fill only some of them."""
    stored = PIXELS.astype(np.uint16) << (bits - 8)
    if "planarconfig" in layout:
        stored = np.moveaxis(stored, 2, 0)
    options = {"photometric": "rgb", **layout}
    white = 2**bits - 1
    found = shown(tmp_path / "a.tif", stored, **options, **with_white(white, white, white))
    assert np.array_equal(found[..., :3], PIXELS)
    found = shown(tmp_path / "b.ome.tif", stored, **options, **with_bits(PIXELS, bits))
    assert np.array_equal(found[..., :3], PIXELS)


def test_a_white_that_is_no_power_of_two_is_white(tmp_path: Path) -> None:
    """Values above it are white, too."""
    stored = np.minimum(PIXELS.astype(np.uint16) * 50, 10_500)
    found = shown(tmp_path / "a.tif", stored, photometric="rgb", **with_white(10_000, 9_000, 9_000))
    expected = np.minimum(stored, 10_000) * (255 / 10_000)
    assert np.abs(found[..., :3] - expected).max() <= 0.5


def test_eight_bits_in_sixteen_are_shown_as_they_are_if_the_file_says_so(tmp_path: Path) -> None:
    """White is 255 then."""
    stored = PIXELS.astype(np.uint16)
    found = shown(tmp_path / "a.tif", stored, photometric="rgb", **with_white(255, 255, 255))
    assert np.array_equal(found[..., :3], PIXELS)


@pytest.mark.parametrize("stated", [{}, with_white(65535, 65535, 65535), with_bits(PIXELS, 16)])
@pytest.mark.parametrize("layout", [{"tile": (16, 16)}, {"rowsperstrip": 7}])
@pytest.mark.parametrize("samples", [TWELVE_BITS, PIXELS.astype(np.uint16)])
def test_colour_of_16_bits_that_uses_fewer_is_refused_if_nothing_says_how_many(
    tmp_path: Path, samples: NDArray[Any], stated: dict[str, Any], layout: dict[str, Any]
) -> None:
    """It would be shown 16 or 256 times too dark. Stating 16 bits is what programs always do."""
    with pytest.raises(OrderError, match="nothing in the file says which value is white") as caught:
        shown(tmp_path / "a.tif", samples, photometric="rgb", **layout, **stated)
    assert caught.value.code == "slide_unreadable"
    assert "8-bit RGB" in caught.value.hint


def test_a_white_that_is_far_exceeded_is_refused(tmp_path: Path) -> None:
    """12 bits are stated, and 16 are used."""
    with pytest.raises(OrderError, match="4095 is the largest value of a sample, but 6") as caught:
        shown(tmp_path / "a.tif", DEEP, photometric="rgb", **with_bits(DEEP, 12))
    assert caught.value.code == "slide_unreadable"


def test_significant_bits_count_for_grey_too(tmp_path: Path) -> None:
    """OME-XML states 12 bits of one channel."""
    camera = DEEP[..., 0] % 4096
    options = {
        "description": with_bits(camera, 12)["description"].replace('SizeC="3"', 'SizeC="1"')
    }
    found = shown(tmp_path / "a.tif", camera, photometric="minisblack", **options)
    assert np.array_equal(found[..., 0], camera >> 4)


def test_an_aperio_slide_of_12_bits_is_not_left_to_openslide(tmp_path: Path) -> None:
    """OpenSlide would show its high bits. With a stated white it is right, without it refused."""
    options: dict[str, Any] = {
        "photometric": "rgb",
        "tile": (64, 64),
        "description": "Aperio Image Library\r\n80x70|AppMag = 20|MPP = 0.5",
        "metadata": None,
    }
    tifffile.imwrite(tmp_path / "a.svs", TWELVE_BITS, **options, **with_white(4095, 4095, 4095))
    with Slide.open(tmp_path / "a.svs") as slide:
        assert np.array_equal(slide.read(0, 0, 80, 70, 1, 1), PIXELS)
    tifffile.imwrite(tmp_path / "b.svs", TWELVE_BITS, **options)
    with pytest.raises(OrderError, match="nothing in the file says which value is white"):
        Slide.open(tmp_path / "b.svs")
