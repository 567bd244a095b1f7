"""JPEG and JPEG 2000 tiles whose color contradicts their page are shown in their true colors."""

import io
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from worker.geometry.frame import Pixels
from worker.slides.slide import Slide

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
