"""DICOM pictures that are no slides: their colours, their transfer syntaxes, and what is not read."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import uid

from tests.support.dicom_files import LOSSLESS, NATIVE, a_dicom_picture, paired, write, ybr
from tests.support.dicom_reading import refusal, whole
from tests.support.reader_suite import ReaderSuite
from tests.support.slides import a_picture, a_slope
from worker.geometry.frame import Pixels
from worker.slides.dicom.reader import open_dicom
from worker.slides.reader import SlideReader


class TestPicture(ReaderSuite):
    def make(self, folder: Path, pixels: Pixels) -> Path:
        return a_dicom_picture(folder / "a.dcm", pixels, "RGB", uid.JPEG2000Lossless)

    def open(self, path: Path) -> SlideReader:
        return open_dicom(path)


@pytest.mark.parametrize("syntax", [*NATIVE, *LOSSLESS])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_colour_pictures_of_every_transfer_syntax(
    tmp_path: Path, syntax: str, photometric: str
) -> None:
    """RGB is shown as it is, full-range YCbCr as the RGB that it was made of, but for rounding."""
    pixels = a_slope(75, 51)
    stored = pixels if photometric == "RGB" else ybr(pixels)
    seen = whole(a_dicom_picture(tmp_path / "a.dcm", stored, photometric, syntax)).astype(int)
    assert np.abs(seen - pixels).max() <= (0 if photometric == "RGB" else 1)


def test_colour_by_plane(tmp_path: Path) -> None:
    """Planar configuration 1 stores all red before all green before all blue."""
    pixels = a_picture(75, 50)
    assert (
        whole(a_dicom_picture(tmp_path / "a.dcm", pixels, "RGB", PlanarConfiguration=1)) == pixels
    ).all()


def test_pairs_of_pixels_that_share_their_colour(tmp_path: Path) -> None:
    """Uncompressed YBR_FULL_422 has two samples for each pixel; its frame is a third shorter than its rows say."""
    pixels = a_slope(80, 50) // 2 * 2
    pixels[:, 1::2] = pixels[:, ::2]
    path = a_dicom_picture(tmp_path / "a.dcm", pixels, "YBR_FULL_422", PixelData=paired(pixels))
    assert np.abs(whole(path).astype(int) - pixels).max() <= 1


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422"])
def test_jpeg_is_read_by_its_markers_and_the_photometric_interpretation(
    tmp_path: Path, photometric: str
) -> None:
    """A JPEG that libjpeg wrote is YCbCr by its marker, whatever the photometric interpretation says."""
    pixels = a_slope(80, 50)
    path = a_dicom_picture(tmp_path / "a.dcm", pixels, photometric, uid.JPEGBaseline8Bit)
    assert np.abs(whole(path).astype(int) - pixels).max() <= 12


def test_jpeg_of_12_bits(tmp_path: Path) -> None:
    """JPEG Extended of 12 bits, which few programs decode, is shown by its window."""
    stored = np.asarray(a_slope(80, 50)[..., 0].astype("<u2") * 16)
    said = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 2048, "WindowWidth": 4096}
    path = a_dicom_picture(tmp_path / "a.dcm", stored, "MONOCHROME2", uid.JPEGExtended12Bit, **said)
    assert np.abs(whole(path)[..., 0].astype(int) - stored // 16).max() <= 3


def test_samples_of_8_bits_in_16(tmp_path: Path) -> None:
    """What is allocated beyond the stored bits does not count."""
    stored = ybr(a_slope(80, 50)).astype("<u2") | 0x100
    path = a_dicom_picture(tmp_path / "a.dcm", stored, "YBR_FULL", BitsStored=8, HighBit=7)
    assert np.abs(whole(path).astype(int) - a_slope(80, 50)).max() <= 1


@pytest.mark.parametrize("photometric", ["YBR_RCT", "YBR_ICT"])
def test_jpeg_2000_undoes_its_own_colour_transform(tmp_path: Path, photometric: str) -> None:
    """YBR_RCT and YBR_ICT are what happens inside of JPEG 2000; with other pixels they are refused."""
    pixels = a_picture(75, 50)
    assert (
        whole(a_dicom_picture(tmp_path / "a.dcm", pixels, photometric, uid.JPEG2000Lossless))
        == pixels
    ).all()
    assert (
        "JPEG 2000"
        in refusal(a_dicom_picture(tmp_path / "b.dcm", pixels, photometric, uid.RLELossless)).detail
    )


def test_colour_of_more_than_8_bits_is_shown_in_8(tmp_path: Path) -> None:
    """RGB of 16 bits for each sample has no window: its whole range is what is shown."""
    pixels = a_picture(60, 40)
    assert (
        whole(a_dicom_picture(tmp_path / "a.dcm", pixels.astype("<u2") * 257, "RGB")) == pixels
    ).all()


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.JPEGLSLossless])
def test_of_several_frames_the_first_is_shown_and_the_reader_says_so(
    tmp_path: Path, syntax: str
) -> None:
    """As viewers do; provenance tells that there are others."""
    first, second = a_picture(75, 50, seed=1), a_picture(75, 50, seed=2)
    single = a_dicom_picture(tmp_path / "a.dcm", first, "RGB", syntax)
    path = write(
        tmp_path / "b.dcm", pydicom.dcmread(single), [first, second], syntax, NumberOfFrames=2
    )
    assert (whole(path) == first).all()
    pyramid = open_dicom(path)
    assert "frame 1 of 2" in pyramid.name
    pyramid.close()


@pytest.mark.parametrize("keyword", ["PixelSpacing", "ImagerPixelSpacing"])
def test_pixel_spacing_is_in_millimetres_of_rows_first(tmp_path: Path, keyword: str) -> None:
    """The first number is the distance of rows, which is y."""
    pyramid = open_dicom(
        a_dicom_picture(tmp_path / "a.dcm", a_picture(9, 9), "RGB", **{keyword: [0.002, 0.001]})
    )
    assert [float(pyramid.properties[f"openslide.mpp-{axis}"]) for axis in "xy"] == [1.0, 2.0]
    pyramid.close()


@pytest.mark.parametrize(
    ("elements", "told"),
    [
        ({"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}, "1 bits in 1"),
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, "32 bits in 32"),
        ({"BitsStored": 7, "HighBit": 7}, "do not begin at bit 0"),
        ({"PhotometricInterpretation": "YBR_PARTIAL_420"}, "'YBR_PARTIAL_420'"),
        ({"PhotometricInterpretation": "MONOCHROME2"}, "3 samples"),
        ({"Rows": 0}, "75 x 0 px"),
        ({"Rows": 65535, "Columns": 65535}, "at most"),
    ],
)
def test_pictures_that_are_not_read_say_why(
    tmp_path: Path, elements: dict[str, Any], told: str
) -> None:
    """Kinds that would be shown wrongly, or need a choice that no order makes, are refused."""
    assert (
        told
        in refusal(a_dicom_picture(tmp_path / "a.dcm", a_picture(75, 50), "RGB", **elements)).detail
    )
