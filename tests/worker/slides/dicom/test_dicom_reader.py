"""DICOM slides that OpenSlide refuses: compressions, sparse tiles, series, and refusals."""

from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
from pydicom import uid

from tests.support.dicom_files import LOSSLESS, a_dicom_slide
from tests.support.dicom_reading import refusal, whole
from tests.support.paths import SLIDES
from tests.support.reader_suite import ReaderSuite
from tests.support.slides import a_picture, a_slope, shrunk
from worker.geometry.frame import Pixels
from worker.slides.dicom.reader import open_dicom
from worker.slides.reader import SlideReader

SERIES = uid.generate_uid()


class TestSparseRle(ReaderSuite):
    def make(self, folder: Path, pixels: Pixels) -> Path:
        return a_dicom_slide(folder / "a.dcm", pixels, uid.RLELossless, missing=())

    def open(self, path: Path) -> SlideReader:
        return open_dicom(path)


class TestSeriesOfTwo(ReaderSuite):
    def make(self, folder: Path, pixels: Pixels) -> Path:
        a_dicom_slide(
            folder / "b.dcm",
            shrunk(pixels, 4),
            uid.HTJ2KLossless,
            downsample=4,
            SeriesInstanceUID=SERIES,
        )
        return a_dicom_slide(folder / "a.dcm", pixels, table="extended", SeriesInstanceUID=SERIES)

    def open(self, path: Path) -> SlideReader:
        return open_dicom(path)


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_every_lossless_compression_gives_back_the_very_pixels(tmp_path: Path, syntax: str) -> None:
    """The pixels are those that were written, in every lossless transfer syntax."""
    pixels = a_picture(150, 100)
    assert (whole(a_dicom_slide(tmp_path / "a.dcm", pixels, syntax)) == pixels).all()


@pytest.mark.parametrize(
    ("syntax", "off"), [(uid.JPEGLSNearLossless, 2), (uid.JPEG2000, 6), (uid.HTJ2K, 3)]
)
def test_lossy_compression_stays_near(tmp_path: Path, syntax: str, off: int) -> None:
    """The pixels differ by the encoder's loss. Nothing overflows, not even in noise."""
    pixels = a_picture(150, 100)
    seen = whole(a_dicom_slide(tmp_path / "a.dcm", pixels, syntax)).astype(int)
    assert np.abs(seen - pixels).max() <= off


@pytest.mark.parametrize(
    "syntax", [uid.ExplicitVRLittleEndian, uid.JPEG2000Lossless, uid.JPEGBaseline8Bit]
)
@pytest.mark.parametrize("missing", [None, {(1, 0)}])
def test_openslide_shows_the_same(
    tmp_path: Path, syntax: str, missing: set[tuple[int, int]] | None
) -> None:
    """Of a full or sparse slide that OpenSlide reads, too, all regions and the alpha are equal."""
    kind = "RGB" if syntax != uid.JPEGBaseline8Bit else "YBR_FULL_422"
    path = a_dicom_slide(
        tmp_path / "a.dcm",
        a_slope(150, 100),
        syntax,
        missing=missing,
        PhotometricInterpretation=kind,
    )
    assert_same_as_openslide(path, tolerance=2 if syntax == uid.JPEGBaseline8Bit else 0)


@pytest.mark.parametrize(
    "name", ["camelyon-lowres-level", "highdicom-sm_image", "synth-he-8k-dicom/thumbnail-512"]
)
def test_openslide_shows_the_same_of_scanners_files(name: str) -> None:
    """Real files equal OpenSlide's, also a series of three that is opened by its thumbnail."""
    assert_same_as_openslide(sample(name), tolerance=2)


def test_a_jpeg_ls_slide_is_its_uncompressed_twin() -> None:
    """A JPEG-LS slide that OpenSlide refuses has the pixels of the same slide uncompressed."""
    with pytest.raises(openslide.OpenSlideError, match="Unsupported transfer syntax"):
        openslide.OpenSlide(sample("highdicom-sm_image_jpegls"))
    pyramid = open_dicom(sample("highdicom-sm_image_jpegls"))
    assert pyramid.name.endswith("(JPEG-LS Lossless Image Compression)")
    assert (whole(sample("highdicom-sm_image_jpegls")) == whole(sample("highdicom-sm_image"))).all()
    pyramid.close()


def test_what_it_says_of_itself(tmp_path: Path) -> None:
    """DICOM states the distance of rows, y, first.

    Properties have image type and transfer syntax.
    """
    pyramid = open_dicom(a_dicom_slide(tmp_path / "a.dcm", a_picture(70, 70)))
    assert float(pyramid.properties["openslide.mpp-x"]) == 0.25
    assert float(pyramid.properties["openslide.mpp-y"]) == 0.5
    assert pyramid.properties["openslide.vendor"] == "dicom"
    assert pyramid.properties["dicom.ImageType"] == r"ORIGINAL\PRIMARY\VOLUME\NONE"
    assert pyramid.properties["dicom.TransferSyntaxUID"] == uid.JPEGLSLossless
    pyramid.close()


def test_where_no_tile_was_scanned_it_is_transparent(tmp_path: Path) -> None:
    """Of a sparse slide only the stored tiles are opaque."""
    pyramid = open_dicom(a_dicom_slide(tmp_path / "a.dcm", a_picture(192, 64), missing={(1, 0)}))
    alpha = np.asarray(pyramid.read_region((0, 0), 0, (192, 64)).getchannel("A"))
    pyramid.close()
    assert (alpha[:, 64:128] == 0).all()
    assert (np.delete(alpha, np.s_[64:128], axis=1) == 255).all()


@pytest.mark.parametrize("opened", ["level0.dcm", "level1.dcm", "label.dcm"])
def test_any_file_of_a_series_opens_the_whole(tmp_path: Path, opened: str) -> None:
    """The files of a series are the levels, largest first. Labels and other series are ignored."""
    pixels = a_slope(128, 96)
    a_dicom_slide(
        tmp_path / "level1.dcm", shrunk(pixels, 4), downsample=4, SeriesInstanceUID=SERIES
    )
    a_dicom_slide(tmp_path / "level0.dcm", pixels, uid.RLELossless, SeriesInstanceUID=SERIES)
    a_dicom_slide(
        tmp_path / "label.dcm",
        a_picture(500, 500),
        SeriesInstanceUID=SERIES,
        ImageType=["ORIGINAL", "PRIMARY", "LABEL", "NONE"],
    )
    a_dicom_slide(tmp_path / "another.dcm", a_picture(999, 64))
    (tmp_path / "notes.txt").write_text("no DICOM")
    (tmp_path / "link.dcm").symlink_to(tmp_path / "level1.dcm")
    pyramid = open_dicom(tmp_path / opened)
    assert pyramid.level_dimensions == ((128, 96), (32, 24))
    assert pyramid.level_downsamples == (1.0, 4.0)
    pyramid.close()
    assert (whole(tmp_path / opened, 1) == shrunk(pixels, 4)).all()


@pytest.mark.parametrize("table", ["basic", "none", "extended"])
def test_frames_are_found_by_any_table_or_none(tmp_path: Path, table: str) -> None:
    """Frames are found by the basic or the extended offset table, or one after another."""
    pixels = a_picture(150, 100)
    assert (whole(a_dicom_slide(tmp_path / "a.dcm", pixels, table=table)) == pixels).all()


def test_grey_slides_have_the_same_tones_in_every_tile(tmp_path: Path) -> None:
    """8-bit values are kept; 16-bit ones are scaled by their full range, the same in every tile."""
    grey = np.asarray(a_slope(150, 100)[..., 0])
    assert (whole(a_dicom_slide(tmp_path / "a.dcm", grey)) == grey[..., None]).all()
    assert (
        whole(a_dicom_slide(tmp_path / "b.dcm", grey.astype("<u2") * 257)) == grey[..., None]
    ).all()


@pytest.mark.parametrize(
    ("elements", "told"),
    [
        ({"NumberOfFrames": 5}, "says 5"),
        ({"TotalPixelMatrixFocalPlanes": 3}, "3 focal planes"),
        ({"NumberOfOpticalPaths": 2}, "2 focal planes or optical paths"),
        ({"ConcatenationUID": uid.generate_uid()}, "one part of several"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]}, "whose own files are missing"),
        ({"TotalPixelMatrixRows": 0}, "150 x 0 px"),
        ({"missing": (), "TotalPixelMatrixColumns": 1, "Columns": 63}, "grid"),
    ],
)
def test_a_slide_of_more_than_one_layer_or_of_parts_is_refused(
    tmp_path: Path, elements: dict[str, Any], told: str
) -> None:
    """The error says why only a part, or two images in one place, would be shown."""
    assert (
        told in refusal(a_dicom_slide(tmp_path / "a.dcm", a_picture(150, 100), **elements)).detail
    )


def test_two_files_of_one_size_are_refused(tmp_path: Path) -> None:
    """Two focal planes in files of their own are not two levels."""
    for name in ("a.dcm", "b.dcm"):
        a_dicom_slide(tmp_path / name, a_picture(70, 70), SeriesInstanceUID=SERIES)
    assert "at the same size" in refusal(tmp_path / "a.dcm").detail


def sample(name: str) -> Path:
    """Return the path of a shared file. Skip the test if there is none."""
    path = SLIDES / f"{name}.dcm"
    if not path.exists():
        pytest.skip(
            "without the shared slides; test_openslide_shows_the_same covers it with a made one"
        )
    return path


def assert_same_as_openslide(path: Path, tolerance: int) -> None:
    """Fail unless dimensions, resolution and some regions of every level are equal."""
    ours, theirs = open_dicom(path), openslide.OpenSlide(path)
    assert ours.level_dimensions == theirs.level_dimensions
    assert ours.level_downsamples == theirs.level_downsamples
    for axis in "xy":
        said = [float(reader.properties[f"openslide.mpp-{axis}"]) for reader in (ours, theirs)]
        assert said[0] == pytest.approx(said[1])
    for level, (width, height) in enumerate(ours.level_dimensions):
        for location in ((0, 0), (-8, 4), (width // 2, height // 2), (width - 24, height - 24)):
            box = location, level, (min(width, 300) + 11, min(height, 300) + 7)
            shown, expected = (
                np.asarray(reader.read_region(*box)).astype(int) for reader in (ours, theirs)
            )
            assert np.abs(shown - expected).max() <= tolerance
    ours.close()
    theirs.close()
