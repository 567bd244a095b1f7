"""DICOM slides whose PhotometricInterpretation is not what their frames are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np
import pytest
from pydicom import uid

from tests.support.dicom_files import (
    ADOBE_MARKER,
    Samples,
    a_dicom_picture,
    a_dicom_slide,
    ybr,
)
from tests.support.dicom_reading import refusal, whole
from tests.support.slides import a_slope, shrunk
from worker.geometry.frame import Pixels
from worker.slides.errors import UnreadableSlideError
from worker.slides.formats import open_reader

JFIF_BYTES: Final = 18
START: Final = b"\xff\xd8"
SERIES: Final = uid.generate_uid()


def ycbcr(samples: Samples, subsampling: str = "444") -> bytes:
    """Return a JPEG of YCbCr with a JFIF marker."""
    return bytes(imagecodecs.jpeg8_encode(samples, 98, subsampling=subsampling))


def rgb(samples: Samples) -> bytes:
    """Return a JPEG of R, G, B with an Adobe marker and the component ids R, G, B."""
    return bytes(imagecodecs.jpeg8_encode(samples, 98, colorspace="RGB", outcolorspace="RGB"))


def without_jfif(stream: bytes) -> bytes:
    return START + stream[len(START) + JFIF_BYTES :]


def without_adobe(stream: bytes) -> bytes:
    return START + stream[len(START) + len(ADOBE_MARKER) + 1 :]


def with_other_ids(stream: bytes) -> bytes:
    """Return a JPEG of R, G, B whose components are numbered from 0, as Aperio does."""
    frame_header = b"\x03R\x11\x00G\x11\x00B\x11\x00"
    scan_header = b"\x03R\x00G\x00B\x00"
    assert frame_header in stream
    assert scan_header in stream
    stream = stream.replace(frame_header, b"\x03\x00\x11\x00\x01\x11\x00\x02\x11\x00")
    return stream.replace(scan_header, b"\x03\x00\x00\x01\x00\x02\x00")


STREAMS: Final[dict[str, tuple[str, Callable[[Samples], bytes]]]] = {
    "JFIF": ("YBR_FULL_422", ycbcr),
    "JFIF, subsampled": ("YBR_FULL_422", lambda samples: ycbcr(samples, "420")),
    "subsampled": ("YBR_FULL_422", lambda samples: without_jfif(ycbcr(samples, "422"))),
    "Adobe, YCbCr": (
        "YBR_FULL_422",
        lambda samples: START + ADOBE_MARKER + b"\1" + without_jfif(ycbcr(samples))[len(START) :],
    ),
    "Adobe, RGB": ("RGB", lambda samples: with_other_ids(rgb(samples))),
    "component ids": ("RGB", lambda samples: without_adobe(rgb(samples))),
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("stated", ["RGB", "YBR_FULL_422"])
def test_the_marks_of_a_jpeg_win_over_the_header(tmp_path: Path, name: str, stated: str) -> None:
    """Every mark tells the colors; OpenSlide reads the slide where the header is true."""
    actual, codec = STREAMS[name]
    path = a_jpeg_slide(tmp_path / "a.dcm", a_slope(150, 100), stated, codec)
    assert_shows(path, a_slope(150, 100))
    assert reader_name(path).startswith("OpenSlide" if stated == actual else "pydicom")


@pytest.mark.parametrize("actual", ["RGB", "YBR_FULL_422"])
def test_without_marks_the_header_tells_the_colors(tmp_path: Path, actual: str) -> None:
    """A stream of Aperio has no mark; OpenSlide and pydicom's reader follow the header."""

    def codec(samples: Samples) -> bytes:
        if actual == "RGB":
            return without_adobe(with_other_ids(rgb(samples)))
        return without_jfif(ycbcr(samples))

    pixels = a_slope(150, 100)
    path = a_jpeg_slide(tmp_path / "a.dcm", pixels, actual, codec)
    assert_shows(path, pixels)
    assert reader_name(path).startswith("OpenSlide")
    assert np.abs(whole(path).astype(int) - pixels).max() <= 12


def test_a_jpeg_whose_marks_contradict_each_other_is_refused(tmp_path: Path) -> None:
    """A JFIF marker means YCbCr and an Adobe marker of 0 means RGB: nobody can tell which."""

    def codec(samples: Samples) -> bytes:
        stream = ycbcr(samples)
        end = len(START) + JFIF_BYTES
        return stream[:end] + ADOBE_MARKER + b"\0" + stream[end:]

    path = a_jpeg_slide(tmp_path / "a.dcm", a_slope(70, 70), "YBR_FULL_422", codec)
    with pytest.raises(UnreadableSlideError, match="marks of RGB and of YCbCr"):
        open_reader(path)


def test_a_coarser_level_of_false_colors_is_seen(tmp_path: Path) -> None:
    """Each level has a header of its own, and any of them may be wrong."""
    pixels = a_slope(256, 192)
    fine = a_jpeg_slide(tmp_path / "a.dcm", pixels, "YBR_FULL_422", ycbcr)
    a_jpeg_slide(tmp_path / "b.dcm", shrunk(pixels, 4), "RGB", ycbcr, downsample=4)
    reader = open_reader(fine)
    coarse = np.asarray(reader.read_region((0, 0), 1, (64, 48)))[..., :3].astype(int)
    reader.close()
    assert np.abs(coarse - shrunk(pixels, 4)).max() <= 12


def test_a_frame_in_the_middle_is_looked_at(tmp_path: Path) -> None:
    """The first frame is what the header says, the others are not."""
    calls = []

    def codec(samples: Samples) -> bytes:
        calls.append(samples)
        if len(calls) == 1:
            return rgb(samples)
        return ycbcr(samples)

    pixels = a_slope(256, 128)
    path = a_jpeg_slide(tmp_path / "a.dcm", pixels, "RGB", codec)
    assert_shows(path, pixels)
    assert reader_name(path).startswith("pydicom")


@pytest.mark.parametrize("bits", [7, 12])
def test_frames_of_other_bits_than_stated_are_refused(tmp_path: Path, bits: int) -> None:
    """12 bits in 8 are cut off, and 7 are too dark."""

    def codec(frame: Samples) -> bytes:
        deep = frame >> 1
        if bits > 8:
            deep = frame.astype(np.uint16) << (bits - 8)
        return bytes(
            imagecodecs.jpeg2k_encode(deep, 0, codecformat="j2k", mct=True, bitspersample=bits)
        )

    path = a_dicom_slide(tmp_path / "a.dcm", a_slope(70, 70), uid.JPEG2000Lossless, codec=codec)
    with pytest.raises(UnreadableSlideError, match=f"8 bits .* stored, and its frames have {bits}"):
        open_reader(path)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_ICT"])
def test_jpeg_2000_with_a_color_transform_is_rgb(tmp_path: Path, photometric: str) -> None:
    """Converters say RGB although they applied the transform; the decoder undoes it anyway."""
    pixels = a_slope(150, 100)
    path = a_jpeg_2000_slide(tmp_path / "a.dcm", pixels, photometric, mct=True)
    assert_shows(path, pixels)


def test_jpeg_2000_without_a_transform_is_what_the_header_says(tmp_path: Path) -> None:
    """Stored R, G, B and stored YCbCr have the same flag, so that the header decides."""
    pixels = a_slope(150, 100)
    assert_shows(a_jpeg_2000_slide(tmp_path / "a.dcm", pixels, "RGB", mct=False), pixels)
    assert_shows(a_jpeg_2000_slide(tmp_path / "b.dcm", ybr(pixels), "YBR_FULL", mct=False), pixels)


@pytest.mark.parametrize(
    ("photometric", "mct"),
    [("YBR_ICT", False), ("YBR_RCT", False), ("YBR_FULL", True), ("YBR_FULL_422", True)],
)
def test_jpeg_2000_that_contradicts_its_header_is_refused(
    tmp_path: Path, photometric: str, mct: bool
) -> None:
    """YBR_ICT and YBR_RCT are the transform itself; stored YCbCr is not transformed once more."""
    path = a_jpeg_2000_slide(tmp_path / "a.dcm", a_slope(70, 70), photometric, mct=mct)
    with pytest.raises(UnreadableSlideError, match="not clear which colors are meant"):
        open_reader(path)


def test_a_lossless_jpeg_with_an_adobe_marker_of_rgb_is_rgb(tmp_path: Path) -> None:
    """The decoder of lossless JPEG ignores all marks, so that its samples are converted or not."""

    def codec(samples: Samples) -> bytes:
        return bytes(
            imagecodecs.jpeg8_encode(
                samples, lossless=True, predictor=1, colorspace="RGB", outcolorspace="RGB"
            )
        )

    pixels = a_slope(75, 51)
    for said in ("RGB", "YBR_FULL"):
        path = tmp_path / f"{said}.dcm"
        a_dicom_picture(path, pixels, said, uid.JPEGLosslessSV1, codec=codec)
        assert (whole(path) == pixels).all()


def test_pictures_that_contradict_their_header_are_mended_or_refused_too(tmp_path: Path) -> None:
    """What is right for slides is right for single images."""
    pixels = a_slope(75, 51)
    path = tmp_path / "a.dcm"
    a_dicom_picture(path, pixels, "YBR_FULL_422", uid.JPEGBaseline8Bit, codec=rgb)
    assert np.abs(whole(path).astype(int) - pixels).max() <= 12
    path = tmp_path / "b.dcm"
    a_dicom_picture(path, pixels, "RGB", uid.JPEG2000, PhotometricInterpretation="YBR_FULL")
    assert "transform of RGB" in refusal(path).detail


def a_jpeg_slide(
    path: Path, pixels: Pixels, stated: str, codec: Callable[[Samples], bytes], **more: Any
) -> Path:
    return a_dicom_slide(
        path,
        pixels,
        uid.JPEGBaseline8Bit,
        codec=codec,
        PhotometricInterpretation=stated,
        SeriesInstanceUID=SERIES,
        **more,
    )


def a_jpeg_2000_slide(path: Path, samples: Samples, photometric: str, *, mct: bool) -> Path:
    def codec(frame: Samples) -> bytes:
        return bytes(imagecodecs.jpeg2k_encode(frame, 60, codecformat="j2k", mct=mct))

    return a_dicom_slide(
        path, samples, uid.JPEG2000, codec=codec, PhotometricInterpretation=photometric
    )


def assert_shows(path: Path, pixels: Pixels) -> None:
    """Fail unless the reader that the worker chooses shows the pixels, but for the loss."""
    reader = open_reader(path)
    shown = np.asarray(reader.read_region((0, 0), 0, reader.level_dimensions[0]))
    reader.close()
    assert (shown[..., 3] == 255).all()
    # Subsampled colors lose much at the edges of the slide; false ones are off everywhere.
    assert np.abs(shown[..., :3].astype(int) - pixels).mean() <= 3


def reader_name(path: Path) -> str:
    reader = open_reader(path)
    reader.close()
    return reader.name
