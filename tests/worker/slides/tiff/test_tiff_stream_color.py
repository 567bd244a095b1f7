"""JPEG and JPEG 2000 tiles whose color contradicts their page are shown in their true colors."""

import io
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from broker.errors import OrderError
from worker.geometry.frame import Pixels
from worker.slides.slide import Slide
from worker.slides.tiff.reader import open_tiff

RGB, YCBCR = 2, 6
APERIO = "Aperio Image Library v11.2.1\r\n128x128 (128x128) JPEG/RGB Q=90|AppMag = 20|MPP = 0.5"
COLORS: Pixels = np.array(
    [[(205, 120, 175), (70, 60, 150)], [(140, 90, 45), (245, 245, 245)]], np.uint8
)
PIXELS: Pixels = COLORS.repeat(64, axis=0).repeat(64, axis=1)


def a_jpeg(*, is_rgb: bool = False, subsampling: int = 2, markers: bool = True) -> bytes:
    """Return the image as a JPEG stream with its JFIF or Adobe marker, or without."""
    buffer = io.BytesIO()
    image = Image.fromarray(PIXELS)
    image.save(buffer, "JPEG", quality=95, subsampling=subsampling, keep_rgb=is_rgb)
    stream = buffer.getvalue()
    if not markers:
        stream = stream[:2] + stream[4 + int.from_bytes(stream[4:6], "big") :]
    return stream


def a_tiff(
    path: Path, tile: bytes, photometric: int, compression: int = 7, *, in_tiles: bool = True
) -> Path:
    """Write one tile or strip of this stream whose page states this color."""
    layout: dict[str, Any] = {"tile": (128, 128)} if in_tiles else {"rowsperstrip": 128}
    options: dict[str, Any] = {"description": APERIO} if path.suffix == ".svs" else {}
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(
            iter([tile]),
            shape=PIXELS.shape,
            dtype=np.uint8,
            photometric="rgb",
            compression=compression,
            metadata=None,
            **layout,
            **options,
        )
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[0].tags["PhotometricInterpretation"].overwrite(photometric)
    return path


def shows_true_colors(path: Path) -> None:
    """Fail unless whole tiles, places between pixels and reduced reads show the image."""
    with Slide.open(path) as slide:
        for x, y, downsample in [(0, 0, 1), (0.4, 0.4, 1), (0, 0, 2)]:
            length = int(126 / downsample)
            found = slide.read(x, y, length, length, downsample, downsample).astype(int)
            expected = PIXELS[:: int(downsample), :: int(downsample)][:length, :length]
            assert np.abs(found - expected).mean() < 5, (x, y, downsample)


@pytest.mark.parametrize("suffix", [".svs", ".tif"])
@pytest.mark.parametrize(
    ("stream", "stated"),
    [
        ({}, YCBCR),
        ({"markers": False}, YCBCR),
        ({}, RGB),
        ({"subsampling": 0}, RGB),
        ({"markers": False}, RGB),
        ({"is_rgb": True, "subsampling": 0}, RGB),
        ({"is_rgb": True, "subsampling": 0}, YCBCR),
        ({"is_rgb": True, "subsampling": 0, "markers": False}, YCBCR),
    ],
)
def test_a_jpeg_tile_knows_its_colour_better_than_its_page(
    tmp_path: Path, suffix: str, stream: dict[str, Any], stated: int
) -> None:
    """JFIF and Adobe markers, names of components and colors of half the size are certain."""
    path = tmp_path / f"a{suffix}"
    shows_true_colors(a_tiff(path, a_jpeg(**stream), stated))
    if suffix == ".tif":
        shows_true_colors(a_tiff(path, a_jpeg(**stream), stated, in_tiles=False))


@pytest.mark.parametrize("suffix", [".svs", ".tif"])
def test_a_page_decides_where_its_tiles_leave_it_open(tmp_path: Path, suffix: str) -> None:
    """Without markers, at full size, a stream of YCbCr and one of RGB look the same."""
    stream = a_jpeg(subsampling=0, markers=False)
    shows_true_colors(a_tiff(tmp_path / f"a{suffix}", stream, YCBCR))


@pytest.mark.parametrize("suffix", [".svs", ".tif"])
@pytest.mark.parametrize("compression", [33003, 33005])
def test_jpeg_2000_that_was_transformed_is_rgb(
    tmp_path: Path, suffix: str, compression: int
) -> None:
    """Compression 33003 states YCbCr, but the decoder undoes the transform of components."""
    tile = bytes(imagecodecs.jpeg2k_encode(PIXELS, level=0, codecformat="J2K", mct=True))
    shows_true_colors(a_tiff(tmp_path / f"a{suffix}", tile, RGB, compression))


def a_jpeg_2000(samples: Any, *, mct: bool, **options: Any) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(samples, level=0, mct=mct, **options))


YCBCR_PIXELS = np.asarray(Image.fromarray(PIXELS).convert("YCbCr"))


@pytest.mark.parametrize(
    ("suffix", "compression", "stated"),
    [(".tif", 34712, YCBCR), (".tif", 33004, YCBCR), (".tif", 33003, RGB), (".svs", 33003, YCBCR)],
)
def test_jpeg_2000_without_transform_is_what_its_page_says(
    tmp_path: Path, suffix: str, compression: int, stated: int
) -> None:
    """The codec returns YCbCr as it is stored, and nothing but the page tells it from RGB."""
    tile = a_jpeg_2000(YCBCR_PIXELS, mct=False, codecformat="J2K")
    shows_true_colors(a_tiff(tmp_path / f"a{suffix}", tile, stated, compression))
    tile = a_jpeg_2000(PIXELS, mct=False, codecformat="J2K")
    if compression != 33003:
        shows_true_colors(a_tiff(tmp_path / f"b{suffix}", tile, RGB, compression))


def test_jpeg_2000_in_a_file_that_says_ycbcr_is_converted_once(tmp_path: Path) -> None:
    """Its codec converts it."""
    tile = a_jpeg_2000(YCBCR_PIXELS, mct=False, codecformat="JP2", colorspace="SYCC")
    shows_true_colors(a_tiff(tmp_path / "a.tif", tile, YCBCR, 34712))
    shows_true_colors(a_tiff(tmp_path / "b.tif", tile, RGB, 34712))


@pytest.mark.parametrize("suffix", [".svs", ".tif"])
def test_a_page_that_contradicts_its_own_compression_is_refused(
    tmp_path: Path, suffix: str
) -> None:
    """33005 is RGB, YCbCr is said, and the stream has no transform."""
    tile = a_jpeg_2000(YCBCR_PIXELS, mct=False, codecformat="J2K")
    path = a_tiff(tmp_path / f"a{suffix}", tile, YCBCR, 33005)
    with pytest.raises(OrderError, match=r"33005.*its tiles leave it open") as caught:
        Slide.open(path)
    assert caught.value.code == "slide_unreadable"


def test_marks_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    """A JFIF marker, and an Adobe marker of RGB."""
    stream = a_jpeg(subsampling=0)
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
    with pytest.raises(OrderError, match="marks of RGB and of YCbCr"):
        Slide.open(a_tiff(tmp_path / "a.tif", stream[:20] + adobe + stream[20:], YCBCR))


@pytest.mark.parametrize("suffix", [".svs", ".tif"])
@pytest.mark.parametrize(
    ("samples", "bits"), [(PIXELS.astype(np.uint16) * 16, 12), (PIXELS >> 1, 7)]
)
def test_other_bits_in_a_jpeg_2000_stream_than_its_page_says_are_refused(
    tmp_path: Path, suffix: str, samples: Any, bits: int
) -> None:
    """12 bits in a page of 8, or 7, would be shown too bright or too dark."""
    tile = a_jpeg_2000(samples, mct=True, codecformat="J2K", bitspersample=bits)
    path = a_tiff(tmp_path / f"a{suffix}", tile, RGB, 33005)
    with pytest.raises(OrderError, match=f"8 bits for each sample, and its tiles have {bits}"):
        Slide.open(path)


def test_the_bits_of_a_stream_state_the_white_of_a_deeper_page(tmp_path: Path) -> None:
    """12 bits in a page of 16: nothing else has to say so."""
    samples = PIXELS.astype(np.uint16) * 16
    tile = a_jpeg_2000(samples, mct=True, codecformat="J2K", bitspersample=12)
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(
            iter([tile]), shape=PIXELS.shape, dtype=np.uint16, photometric="rgb",
            compression=34712, metadata=None, tile=(128, 128),
        )  # fmt: skip
    with Slide.open(path) as slide:
        assert np.array_equal(slide.read(0, 0, 128, 128, 1, 1), PIXELS)


def test_a_tile_in_the_middle_is_looked_at(tmp_path: Path) -> None:
    """The first is RGB by its Adobe marker, the other halves its colors."""
    path = tmp_path / "a.tif"
    tiles = [a_jpeg(is_rgb=True, subsampling=0), a_jpeg()]
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(
            iter(tiles), shape=(128, 256, 3), dtype=np.uint8, photometric="rgb", compression=7,
            metadata=None, tile=(128, 128),
        )  # fmt: skip
    with pytest.raises(OrderError, match="in different ways"):
        Slide.open(path)


def test_a_stream_is_found_among_tiles_that_were_not_fetched(tmp_path: Path) -> None:
    """Of a slide that was fetched in part nearly all tiles are holes, the first ones too."""
    path = tmp_path / "a.tif"
    tile = a_jpeg(markers=False)
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(
            iter([tile] * 400), shape=(128 * 20, 128 * 20, 3), dtype=np.uint8, photometric="rgb",
            compression=7, metadata=None, tile=(128, 128),
        )  # fmt: skip
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        places = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    with path.open("r+b") as file:
        for offset, size_bytes in places[:399]:
            file.seek(offset)
            file.write(bytes(size_bytes))
    reader = open_tiff(path)
    found = np.asarray(reader.read_region((19 * 128, 19 * 128), 0, (128, 128)))[..., :3]
    reader.close()
    assert np.abs(found.astype(int) - PIXELS).mean() < 5
